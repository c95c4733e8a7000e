#include "tensor/kernels/scale.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {

void Scale(const Stream& stream, const View& x, const View& factor, bool accumulate,
           const View& y) {
  CHECK_EQ(x.numel(), y.numel()) << "[scale] x: want " << Describe(y) << ", got " << Describe(x);
  CheckSumType("scale", "y", y, x.dtype);
  CHECK_SHAPE("scale", "factor", factor, 1);
  CHECK_DTYPE("scale", "factor", factor, DType::kF64);
  CHECK(x.contiguous() && y.contiguous()) << "[scale] want contiguous tensors";
  LOCKSTEP_DISPATCH(stream, Scale, x, factor, accumulate, y);
}

}  // namespace lockstep::kernels
