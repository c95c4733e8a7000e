#include "tensor/kernels/fixed_point.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {
namespace {

constexpr char kOp[] = "fixed_point";

void CheckPair(const char* name, const View& values, const View& sum) {
  CHECK(values.rank == 1 && (values.dtype == DType::kF32 || values.dtype == DType::kF64))
      << "[fixed_point] " << name << ": want f32[n] or f64[n], got " << Describe(values);
  CHECK_SHAPE(kOp, "sum", sum, values.shape[0]);
  CHECK_DTYPE(kOp, "sum", sum, DType::kI64);
  CHECK(values.contiguous() && sum.contiguous());
}

}  // namespace

void AddFixedPoint(const Stream& stream, const View& x, int fraction_bits, int64_t max_terms,
                   const View& sum, const View& overflow) {
  CheckPair("x", x, sum);
  CHECK_SHAPE(kOp, "overflow", overflow, 1);
  CHECK_DTYPE(kOp, "overflow", overflow, DType::kI64);
  CHECK_GE(max_terms, 1);
  LOCKSTEP_DISPATCH(stream, AddFixedPoint, x, fraction_bits, max_terms, sum, overflow);
}

void FromFixedPoint(const Stream& stream, const View& sum, int fraction_bits, const View& y) {
  CheckPair("y", y, sum);
  LOCKSTEP_DISPATCH(stream, FromFixedPoint, sum, fraction_bits, y);
}

}  // namespace lockstep::kernels
