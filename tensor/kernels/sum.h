// Sum: y[0] = scale · Σ_i x[i], in an order that depends on the length alone.
//
//   x   [n] f64, contiguous; may be empty
//   y   [1] f64; written
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

void Sum(const Stream& stream, const View& x, double scale, const View& y);

namespace cpu {
decltype(kernels::Sum) Sum;
}
namespace cuda {
decltype(kernels::Sum) Sum;
}

}  // namespace lockstep::kernels
