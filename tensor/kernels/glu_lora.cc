#include "tensor/kernels/glu_lora.h"

#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/glu_lora_parts.h"

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

void CheckGradient(const View& x, const LoraShare& share, const LoraShareGradient& gradient) {
  const int64_t rank = share.empty() ? 0 : share.h.shape[1];
  if (gradient.dh.rank != 0) {
    CHECK_SHAPE(kOp, "dh", gradient.dh, x.shape[0], rank);
    CHECK_DTYPE(kOp, "dh", gradient.dh, x.dtype);
  }
  if (gradient.db.rank != 0) CHECK_SHAPE(kOp, "db", gradient.db, x.shape[1] / 2, rank);
}

void CheckScratch(const View& x, int64_t rank, const View& scratch) {
  CHECK_DTYPE(kOp, "scratch", scratch, DType::kF32);
  CHECK(scratch.contiguous() && scratch.numel() >= GluLoraScratch(x.shape[0], x.shape[1] / 2, rank))
      << "[glu_lora] scratch: " << Describe(scratch);
}

void CheckMask(const View& x, const DropoutMask& mask) {
  if (mask.empty()) return;
  CHECK_SHAPE(kOp, "bits", mask.bits, x.shape[0], DropoutMaskBytes(x.shape[1] / 2));
  CHECK_DTYPE(kOp, "bits", mask.bits, DType::kU8);
  CHECK(mask.bits.contiguous()) << "[glu_lora] bits: " << Describe(mask.bits);
}

int64_t RankOf(const View& h) { return h.rank == 0 ? 0 : h.shape[1]; }

}  // namespace

int64_t GluLoraScratch(int64_t rows, int64_t width, int64_t rank) {
  const GluLoraCut forward = CutForward(rows, width, rank), back = CutBackward(rows, width, rank);
  return std::max({forward.strips * rows * forward.rank,
                   (back.strips * rows * 2 + back.panels * width * 3) * back.rank,
                   DroppedGradientsScratch(rows, width)});
}

void GluLora(const Stream& stream, const View& x, const LoraShare& gate, const LoraShare& up,
             GluActivation activation, const DropoutMask& mask, const View& y,
             const LoraFactor& next, const View& scratch) {
  CheckPair(x, "y", y);
  CheckShare(x, gate);
  CheckShare(x, up);
  CheckShare(x, {next.h, next.b});
  CheckScratch(x, std::max({RankOf(gate.h), RankOf(up.h), RankOf(next.h)}), scratch);
  CheckMask(x, mask);
  LOCKSTEP_DISPATCH(stream, GluLora, x, gate, up, activation, mask, y, next, scratch);
}

void GluLoraBackward(const Stream& stream, const View& dy, const LoraShare& of_dy, const View& x,
                     const LoraShare& gate, const LoraShare& up, GluActivation activation,
                     const DropoutMask& mask, const GluLoraGradients& gradients,
                     const View& scratch) {
  CheckPair(x, "dy", dy);
  for (const LoraShare* share : {&of_dy, &gate, &up}) CheckShare(x, *share);
  CheckGradient(x, gate, gradients.gate);
  CheckGradient(x, up, gradients.up);
  CheckGradient(x, of_dy, {{}, gradients.dy_db});
  CheckScratch(x, std::max({RankOf(gate.h), RankOf(up.h), RankOf(of_dy.h)}), scratch);
  CheckMask(x, mask);
  CHECK(of_dy.empty() || of_dy.scale == 1) << "[glu_lora] dy's share: want a scale of 1";
  LOCKSTEP_DISPATCH(stream, GluLoraBackward, dy, of_dy, x, gate, up, activation, mask, gradients,
                    scratch);
}

}  // namespace lockstep::kernels
