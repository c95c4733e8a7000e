// Gated linear unit on merged [gate | up]: y = act(gate) ∘ up (Shazeer, 2020).
//
//   kSilu      act(z) = z / (1 + exp(−z))                                  SwiGLU
//   kGeluTanh  act(z) = z/2 · (1 + tanh(√(2/π) · (z + 0.044715·z³)))       GeGLU, gelu_pytorch_tanh
//
//   x    [T, 2F], contiguous: gate in columns [0, F), up in [F, 2F); f64 or f32, on CUDA f32 or
//        bf16 (computed in fp32)
//   y    [T, F], contiguous; written
//
// Backward recomputes act from x:
//   dgate = dy ∘ up ∘ act′(gate),   dup = dy ∘ act(gate)
//
//   dy   as y
//   dx   as x; written; may be x itself
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

enum class GluActivation : uint8_t { kSilu, kGeluTanh };

void Glu(const Stream& stream, const View& x, GluActivation activation, const View& y);
void GluBackward(const Stream& stream, const View& dy, const View& x, GluActivation activation,
                 const View& dx);

namespace cpu {
decltype(kernels::Glu) Glu;
decltype(kernels::GluBackward) GluBackward;
}  // namespace cpu
namespace cuda {
decltype(kernels::Glu) Glu;
decltype(kernels::GluBackward) GluBackward;
}  // namespace cuda

}  // namespace lockstep::kernels
