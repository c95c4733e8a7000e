#include "tensor/kernels/fill.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {

void Fill(const Stream& stream, const View& y, double value) {
  LOCKSTEP_DISPATCH(stream, Fill, y, value);
}

}  // namespace lockstep::kernels
