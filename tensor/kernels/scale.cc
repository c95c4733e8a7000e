#include "tensor/kernels/scale.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {

void Scale(const Stream& stream, const View& x, const View& factor, bool accumulate,
           const View& y) {
  CHECK_EQ(x.numel(), y.numel()) << "[scale] x: want " << Describe(y) << ", got " << Describe(x);
  const bool narrow = x.dtype == DType::kBF16 || x.dtype == DType::kF16;
  CHECK(y.dtype == x.dtype || (narrow && y.dtype == DType::kF32))
      << "[scale] y: want " << NameOf(x.dtype) << ", got " << Describe(y);
  CHECK_SHAPE("scale", "factor", factor, 1);
  CHECK_DTYPE("scale", "factor", factor, DType::kF64);
  CHECK(x.contiguous() && y.contiguous()) << "[scale] want contiguous tensors";
  LOCKSTEP_DISPATCH(stream, Scale, x, factor, accumulate, y);
}

}  // namespace lockstep::kernels
