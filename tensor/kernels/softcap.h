// Softcap: y = cap · tanh(x / cap), the bound that some models put on their logits.
//
//   x, y   [S, V], contiguous; f64 or f32, on CUDA f32 or bf16, the same; y may be x. cap > 0
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

void Softcap(const Stream& stream, const View& x, double cap, const View& y);

namespace cpu {
decltype(kernels::Softcap) Softcap;
}
namespace cuda {
decltype(kernels::Softcap) Softcap;
}

}  // namespace lockstep::kernels
