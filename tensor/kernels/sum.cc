#include "tensor/kernels/sum.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {

void Sum(const Stream& stream, const View& x, double scale, const View& y) {
  CHECK_DTYPE("sum", "x", x, DType::kF64);
  CHECK_DTYPE("sum", "y", y, DType::kF64);
  CHECK_SHAPE("sum", "y", y, 1);
  CHECK(x.contiguous()) << "[sum] x: want contiguous elements, got " << Describe(x);
  LOCKSTEP_DISPATCH(stream, Sum, x, scale, y);
}

}  // namespace lockstep::kernels
