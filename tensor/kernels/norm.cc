#include "tensor/kernels/norm.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {

void Norm(const Stream& stream, const View& x, const View& norm, const View& partials) {
  SquareSums(stream, x, partials);
  RootOfSum(stream, partials, norm);
}

void SquareSums(const Stream& stream, const View& x, const View& partials) {
  CHECK(x.rank == 1 && x.contiguous() &&
        (x.dtype == DType::kF64 || x.dtype == DType::kF32 || x.dtype == DType::kI64))
      << "[norm] x: want contiguous f64[n], f32[n] or i64[n], got " << Describe(x);
  CHECK_SHAPE("norm", "partials", partials, NormPartials(x.shape[0]));
  CHECK_DTYPE("norm", "partials", partials, DType::kF64);
  LOCKSTEP_DISPATCH(stream, SquareSums, x, partials);
}

void RootOfSum(const Stream& stream, const View& partials, const View& norm) {
  CHECK_SHAPE("norm", "norm", norm, 1);
  CHECK_DTYPE("norm", "norm", norm, DType::kF64);
  CHECK(partials.rank == 1 && partials.contiguous() && partials.dtype == DType::kF64)
      << "[norm] partials: want contiguous f64[n], got " << Describe(partials);
  LOCKSTEP_DISPATCH(stream, RootOfSum, partials, norm);
}

void ClipCoefficient(const Stream& stream, const View& norm, double max_norm,
                     const View& coefficient) {
  for (const View* view : {&norm, &coefficient}) {
    CHECK_SHAPE("clip_coefficient", "norm and coefficient", *view, 1);
    CHECK_DTYPE("clip_coefficient", "norm and coefficient", *view, DType::kF64);
  }
  LOCKSTEP_DISPATCH(stream, ClipCoefficient, norm, max_norm, coefficient);
}

}  // namespace lockstep::kernels
