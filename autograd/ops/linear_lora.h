// LinearLora: a linear layer, possibly several merged into one, with LoRA adapters on parts of it.
//
//   y = x Wᵀ + bias,   y[:, first_i : first_i + n_i] += scale_i · (dropout_i(x) A_iᵀ) B_iᵀ
//
// The products of a linear layer whose outputs are q, k and v (or gate and up), each with an
// adapter of its own rank and scale. LoRA: Hu et al., arXiv:2106.09685; dropout_i is
// tensor/kernels/dropout.h with adapter i's key.
//
//   x      [T, C]   activation; rows may be strided
//   W      [N, C]   frozen, in x's dtype, bf16 or f16; or a leaf
//   bias   [N]      frozen, a leaf, or undefined
//   A_i    [r_i, C] and B_i [n_i, r_i]: leaves, or frozen
//   y      [T, N]   x's dtype
// Saved: x, where W or an A_i is a leaf, and h = [dropout_i(x) A_iᵀ]_i, [T, Σ r_i], where a B_i is;
// with dropout what LoraLinear::Drops says, which may be a bit an element and adapter.
// Gradients: dx = dy W + Σ_i dropout_i(g_i A_i) with g_i = scale_i · dy_i B_i; dA_i = g_iᵀ
// dropout_i(x); dB_i = scale_i · dy_iᵀ h_i; dW = dyᵀ x; dbias = Σ_t dy. No work is done for what is
// frozen. Adapters whose A_i (and gradients) follow each other in memory share one product.
#pragma once

#include "autograd/ops/lora_layer.h"
#include "autograd/ops/lora_product.h"
#include "autograd/tape.h"

namespace lockstep::autograd {

// `ends_segment`: nobody in a segment of the tape (Tape::Checkpoint) reads y. Where that runs
// again, y's memory is left as it is.
Variable LinearLora(Tape& tape, const Variable& x, const LoraLayer& layer,
                    const LoraDropout& dropout = {}, bool ends_segment = false);

}  // namespace lockstep::autograd
