#include "tensor/kernels/softcap.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {

void Softcap(const Stream& stream, const View& x, double cap, const View& y) {
  CHECK_EQ(x.rank, 2) << "[softcap] x: want [S, V], got " << Describe(x);
  CHECK_SHAPE("softcap", "y", y, x.shape[0], x.shape[1]);
  CHECK_DTYPE("softcap", "y", y, x.dtype);
  CHECK(x.contiguous() && y.contiguous()) << "[softcap] want contiguous tensors";
  CHECK_GT(cap, 0) << "[softcap] cap";
  LOCKSTEP_DISPATCH(stream, Softcap, x, cap, y);
}

}  // namespace lockstep::kernels
