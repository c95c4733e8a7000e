#include "tensor/kernels/glu.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {
namespace {

void CheckPair(const char* wide_name, const View& wide, const char* narrow_name,
               const View& narrow) {
  constexpr char kOp[] = "glu";
  CHECK(wide.rank == 2 && wide.shape[1] % 2 == 0 && wide.contiguous())
      << "[glu] " << wide_name << ": want contiguous [T, 2F], got " << Describe(wide);
  CHECK_SHAPE(kOp, narrow_name, narrow, wide.shape[0], wide.shape[1] / 2);
  CHECK_DTYPE(kOp, narrow_name, narrow, wide.dtype);
  CHECK(narrow.contiguous()) << "[glu] " << narrow_name << ": " << Describe(narrow);
}

}  // namespace

void Glu(const Stream& stream, const View& x, GluActivation activation, const View& y) {
  CheckPair("x", x, "y", y);
  LOCKSTEP_DISPATCH(stream, Glu, x, activation, y);
}

void GluBackward(const Stream& stream, const View& dy, const View& x, GluActivation activation,
                 const View& dx) {
  CheckPair("x", x, "dy", dy);
  CheckPair("dx", dx, "dy", dy);
  LOCKSTEP_DISPATCH(stream, GluBackward, dy, x, activation, dx);
}

}  // namespace lockstep::kernels
