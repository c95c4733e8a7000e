#include "tensor/kernels/accumulate.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {

void Accumulate(const Stream& stream, const View& x, const View& y) {
  CHECK_EQ(x.numel(), y.numel()) << "[accumulate] x: want " << Describe(y) << ", got "
                                 << Describe(x);
  CHECK_DTYPE("accumulate", "x", x, y.dtype);
  CHECK(x.contiguous() && y.contiguous())
      << "[accumulate] want contiguous tensors, got " << Describe(x) << " and " << Describe(y);
  LOCKSTEP_DISPATCH(stream, Accumulate, x, y);
}

}  // namespace lockstep::kernels
