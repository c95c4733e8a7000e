#include "tensor/kernels/glu_lora.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {
namespace {

constexpr char kOp[] = "glu_lora";

void CheckPair(const View& x, const char* name, const View& y) {
  CHECK(x.rank == 2 && x.shape[1] % 2 == 0 && x.contiguous())
      << "[glu_lora] x: want contiguous [T, 2F], got " << Describe(x);
  CHECK_SHAPE(kOp, name, y, x.shape[0], x.shape[1] / 2);
  CHECK_DTYPE(kOp, name, y, x.dtype);
  CHECK(y.contiguous()) << "[glu_lora] " << name << ": " << Describe(y);
}

void CheckShare(const View& x, const LoraShare& share) {
  if (share.h.rank == 0) return;
  CHECK_SHAPE(kOp, "h", share.h, x.shape[0], share.h.shape[1]);
  CHECK_SHAPE(kOp, "b", share.b, x.shape[1] / 2, share.h.shape[1]);
  CHECK_DTYPE(kOp, "h", share.h, x.dtype);
  CHECK_DTYPE(kOp, "b", share.b, x.dtype);
}

}  // namespace

void GluLora(const Stream& stream, const View& x, const LoraShare& gate, const LoraShare& up,
             GluActivation activation, const View& y) {
  CheckPair(x, "y", y);
  CheckShare(x, gate);
  CheckShare(x, up);
  LOCKSTEP_DISPATCH(stream, GluLora, x, gate, up, activation, y);
}

void GluLoraBackward(const Stream& stream, const View& dy, const LoraShare& of_dy, const View& x,
                     const LoraShare& gate, const LoraShare& up, GluActivation activation) {
  CheckPair(x, "dy", dy);
  for (const LoraShare* share : {&of_dy, &gate, &up}) CheckShare(x, *share);
  LOCKSTEP_DISPATCH(stream, GluLoraBackward, dy, of_dy, x, gate, up, activation);
}

}  // namespace lockstep::kernels
