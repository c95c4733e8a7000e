// Cast: y = x, converted to y's dtype.
//
//   x, y   the same shape, any strides; f64, f32, bf16 or f16 each. On CUDA f32 or bf16; where both
//          are contiguous also f64 to f32, and equal dtypes. Rounded to nearest even, f64 to 16
//          bits by way of fp32. Equal dtypes: a copy. They do not overlap.
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

void Cast(const Stream& stream, const View& x, const View& y);

namespace cpu {
decltype(kernels::Cast) Cast;
}
namespace cuda {
decltype(kernels::Cast) Cast;
}

}  // namespace lockstep::kernels
