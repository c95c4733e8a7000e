// GluLora: the gated linear unit of glu.h that adds LoRA's shares as it reads, where a product with
// beta = 1 would read and write the wide tensors once more.
//
//   z_gate = gate + share_gate,   z_up = up + share_up;   y = act(z_gate) ∘ z_up
//
//   x      [T, 2F] = [gate | up], contiguous; f64 or f32, on CUDA bf16
//   y      [T, F], contiguous, x's dtype; written
//   share  scale · h bᵀ, [T, F]; h [T, r] with rows of neighbors, b [F, r] of any strides, x's
//          dtype; rank 0 (no view): nothing is added
//
// Backward computes z and y again and leaves y where dy was:
//   d = dy + share_dy;   x ← [d ∘ z_up ∘ act′(z_gate) | d ∘ act(z_gate)];   dy ← y
// Sums in f32 (f64 for f64), rounded once.
//
// On CUDA: r even and at most kGluLoraMaxRank, F a multiple of 32, rows and b aligned to 4 bytes.
#pragma once

#include "tensor/kernels/glu.h"
#include "tensor/view.h"

namespace lockstep::kernels {

inline constexpr int64_t kGluLoraMaxRank = 64;

struct LoraShare {
  View h = {}, b = {};  // rank 0: none
  double scale = 1;
};

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
