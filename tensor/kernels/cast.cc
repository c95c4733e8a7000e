#include "tensor/kernels/cast.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {

void Cast(const Stream& stream, const View& x, const View& y) {
  bool same = x.rank == y.rank;
  for (int i = 0; same && i < x.rank; ++i) same = x.shape[i] == y.shape[i];
  CHECK(same) << "[cast] want one shape, got " << Describe(x) << " and " << Describe(y);
  for (const View* view : {&x, &y}) {
    CHECK(IsFloat(view->dtype)) << "[cast] want a floating-point type, got " << Describe(*view);
  }
  LOCKSTEP_DISPATCH(stream, Cast, x, y);
}

}  // namespace lockstep::kernels
