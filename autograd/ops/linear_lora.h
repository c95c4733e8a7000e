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
// Saved: x, where W or an A_i is a leaf, and h = [dropout_i(x) A_iᵀ]_i, [T, Σ r_i], where a B_i is.
// Gradients: dx = dy W + Σ_i dropout_i(g_i A_i) with g_i = scale_i · dy_i B_i; dA_i = g_iᵀ
// dropout_i(x); dB_i = scale_i · dy_iᵀ h_i; dW = dyᵀ x; dbias = Σ_t dy. No work is done for what is
// frozen. Adapters whose A_i (and gradients) follow each other in memory share one product.
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "autograd/tape.h"

namespace lockstep::autograd {

struct LoraAdapter {
  Variable a, b;
  double scale = 1;
  int64_t first = 0;         // where its range of outputs starts; it ends n = b.dim(0) later
  uint64_t dropout_key = 0;  // of the run's seed and the module's name
};

struct LoraDropout {
  double p = 0;
  Tensor token_keys;  // i64 [T]; may be undefined where p = 0
};

// A frozen or trained linear layer with its adapters; bias may be undefined.
struct LoraLayer {
  Variable w, bias;
  std::vector<LoraAdapter> adapters;
};

class PendingShares;

// What becomes of a layer's output.
struct LinearOutput {
  // With `left`, y lacks LoRA's shares and the op that reads y adds them (pending_shares.h); the
  // gradients are those of the whole y.
  PendingShares* left = nullptr;
  // y is an output of a segment that runs again (Tape::rerunning): nobody reads it, and its memory
  // is left as it is.
  bool unread = false;
  // Then, where it is known: h of the run before (PendingShares::h), which need not be computed
  // again. Used by normed_mlp, where h is the end of a chain that nothing else needs.
  Tensor h = {};
};

Variable LinearLora(Tape& tape, const Variable& x, const Variable& w, const Variable& bias,
                    absl::Span<const LoraAdapter> adapters, const LoraDropout& dropout = {},
                    const LinearOutput& output = {});

}  // namespace lockstep::autograd
