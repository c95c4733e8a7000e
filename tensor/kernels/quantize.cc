#include "tensor/kernels/quantize.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {
namespace {

constexpr char kOp[] = "quantize";

void CheckCodes(const char* name, const View& codes) {
  CHECK_DTYPE(kOp, name, codes, DType::kU8);
  CHECK(codes.rank == 2 && codes.contiguous())
      << "[quantize] " << name << ": want a contiguous matrix, got " << Describe(codes);
}

}  // namespace

void QuantizeRows(const Stream& stream, const View& x, const View& factors, const ScaledRows& to) {
  CHECK(x.rank == 2 && x.shape[1] % 16 == 0 && x.stride[1] == 1)
      << "[quantize] x: want rows of a multiple of 16 neighbors, got " << Describe(x);
  CheckCodes("codes", to.codes);
  CHECK_SHAPE(kOp, "codes", to.codes, x.shape[0], x.shape[1]);
  CHECK_DTYPE(kOp, "scales", to.scales, DType::kF32);
  CHECK_SHAPE(kOp, "scales", to.scales, x.shape[0]);
  CHECK(to.scales.contiguous()) << "[quantize] scales: want contiguous elements";
  if (factors.rank != 0) {
    CHECK_DTYPE(kOp, "factors", factors, DType::kF32);
    CHECK_SHAPE(kOp, "factors", factors, x.shape[1]);
    CHECK(factors.contiguous()) << "[quantize] factors: want contiguous elements";
  }
  if (x.numel() == 0) return;
  LOCKSTEP_DISPATCH(stream, QuantizeRows, x, factors, to);
}

void TransposeCodes(const Stream& stream, const View& codes, const View& to) {
  CheckCodes("codes", codes);
  CheckCodes("to", to);
  CHECK_SHAPE(kOp, "to", to, codes.shape[1], codes.shape[0]);
  if (codes.numel() == 0) return;
  LOCKSTEP_DISPATCH(stream, TransposeCodes, codes, to);
}

}  // namespace lockstep::kernels
