// GluLora: the gated linear unit of glu.h with the LoRA around it: shares are added as the wide
// tensors are read, where a product with beta = 1 would read and write them once more, and the
// narrow products that read them as well are taken in the same pass.
//
//   z_gate = gate + share_gate,   z_up = up + share_up;   y = act(z_gate) ∘ z_up
//   next.h = dropout(y) · next.b
//
//   x      [T, 2F] = [gate | up], contiguous; f64 or f32, on CUDA bf16
//   y      [T, F], contiguous, x's dtype; written
//   share  lora_share.h: scale · h bᵀ, [T, F]; x's dtype
//   next   the first half of LoRA on y: b [F, r], h [T, r]; no view in h (rank 0): not computed
//   mask   of [T, F] (dropout_mask.h): dropout(y) = mask ∘ y / (1 − p); empty: y itself
//
// Backward computes z and y again:
//   d = dy + dropout(share_dy);   x ← dz = [d ∘ z_up ∘ act′(z_gate) | d ∘ act(z_gate)]
// and, each where it is asked for (rank not 0), with `gate` for gate's half and likewise for up's:
//   gate.dh [T, r] ← gate's scale · dz b;   gate.db [F, r] ← (or +=) gate's scale · dzᵀ h
//   dy_db   [F, r] ← (or +=) dropout(y)ᵀ h, h of dy's share, whose scale is 1
// dh has x's dtype, db and dy_db have it or f32, and any strides that have neighbors in one
// dimension. dy holds nothing of use afterwards.
// Sums in f32 (f64 for f64). Results are rounded once; products read dz and y as rounded to x's
// dtype.
//
// On CUDA: ranks that LoraShareFits (that of dy's share, with a mask, DroppedLoraTakes), F a
// multiple of 32, rows and b aligned to 4 bytes. One kernel does it all where ranks are 8, 16, 24
// or 32, b has neighbors along r (gate, up) or F (the others), rows are aligned to 16 bytes and a
// block can have up to 200 KiB of shared memory (Hopper and newer data-center GPUs); otherwise the
// products come one by one. Either is deterministic, and a function of the shapes and the GPU's
// model.
#pragma once

#include "tensor/kernels/dropout_mask.h"
#include "tensor/kernels/glu.h"
#include "tensor/kernels/lora_share.h"
#include "tensor/view.h"

namespace lockstep::kernels {

struct LoraFactor {
  View h = {}, b = {};
};

struct GluLoraGradients {
  LoraShareGradient gate, up;
  View dy_db = {};
  bool accumulate_dy_db = false;
};

// Elements of f32 scratch memory that either pass wants for [T, F] and ranks of at most `rank`.
int64_t GluLoraScratch(int64_t rows, int64_t width, int64_t rank);

void GluLora(const Stream& stream, const View& x, const LoraShare& gate, const LoraShare& up,
             GluActivation activation, const DropoutMask& mask, const View& y,
             const LoraFactor& next, const View& scratch);
void GluLoraBackward(const Stream& stream, const View& dy, const LoraShare& of_dy, const View& x,
                     const LoraShare& gate, const LoraShare& up, GluActivation activation,
                     const DropoutMask& mask, const GluLoraGradients& gradients,
                     const View& scratch);

namespace cpu {
decltype(kernels::GluLora) GluLora;
decltype(kernels::GluLoraBackward) GluLoraBackward;
}  // namespace cpu
namespace cuda {
decltype(kernels::GluLora) GluLora;
decltype(kernels::GluLoraBackward) GluLoraBackward;
}  // namespace cuda

}  // namespace lockstep::kernels
