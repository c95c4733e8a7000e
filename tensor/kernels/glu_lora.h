// GluLora: the gated linear unit of glu.h that adds LoRA's shares as it reads, where a product with
// beta = 1 would read and write the wide tensors once more.
//
//   z_gate = gate + share_gate,   z_up = up + share_up;   y = act(z_gate) ∘ z_up
//
//   x      [T, 2F] = [gate | up], contiguous; f64 or f32, on CUDA bf16
//   y      [T, F], contiguous, x's dtype; written
//   share  lora_share.h: scale · h bᵀ, [T, F]; x's dtype
//
// Backward computes z and y again and leaves y where dy was:
//   d = dy + share_dy;   x ← [d ∘ z_up ∘ act′(z_gate) | d ∘ act(z_gate)];   dy ← y
// Sums in f32 (f64 for f64), rounded once.
//
// On CUDA: r even and at most kGluLoraMaxRank, F a multiple of 32, rows and b aligned to 4 bytes.
#pragma once

#include "tensor/kernels/glu.h"
#include "tensor/kernels/lora_share.h"
#include "tensor/view.h"

namespace lockstep::kernels {

inline constexpr int64_t kGluLoraMaxRank = 64;

void GluLora(const Stream& stream, const View& x, const LoraShare& gate, const LoraShare& up,
             GluActivation activation, const View& y);
void GluLoraBackward(const Stream& stream, const View& dy, const LoraShare& of_dy, const View& x,
                     const LoraShare& gate, const LoraShare& up, GluActivation activation);

namespace cpu {
void GluLora(const Stream& stream, const View& x, const LoraShare& gate, const LoraShare& up,
             GluActivation activation, const View& y);
void GluLoraBackward(const Stream& stream, const View& dy, const LoraShare& of_dy, const View& x,
                     const LoraShare& gate, const LoraShare& up, GluActivation activation);
}  // namespace cpu
namespace cuda {
void GluLora(const Stream& stream, const View& x, const LoraShare& gate, const LoraShare& up,
             GluActivation activation, const View& y);
void GluLoraBackward(const Stream& stream, const View& dy, const LoraShare& of_dy, const View& x,
                     const LoraShare& gate, const LoraShare& up, GluActivation activation);
}  // namespace cuda

}  // namespace lockstep::kernels
