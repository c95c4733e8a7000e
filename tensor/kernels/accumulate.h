// Accumulate: y += x, for gradients that reach one tensor from several ops.
//
//   x   any shape, contiguous; f64 or f32, on CUDA f32 or bf16
//   y   the same shape and dtype, contiguous; read and written
// bf16: the sum is taken in fp32 and rounded to nearest even.
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

void Accumulate(const Stream& stream, const View& x, const View& y);

namespace cpu {
decltype(kernels::Accumulate) Accumulate;
}
namespace cuda {
decltype(kernels::Accumulate) Accumulate;
}

}  // namespace lockstep::kernels
