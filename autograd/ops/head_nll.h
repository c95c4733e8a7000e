// HeadNll: from hidden rows to the loss, without ever holding the logits of all rows.
//
//   l_s = W̃ x[target_rows[s], :],   W̃ = W with its LoRA adapters (linear_lora.h); plus bias
//   l_s ← c ⊙ l_s,   c = magnitude / ‖W̃‖ by row                  (with DoRA, dora.h; without bias
//                                                                 and dropout)
//   l_s ← cap · tanh(l_s / cap)                                    (if softcap > 0)
//   nll_s = log Σ_v exp l_s[v] − l_s[targets[s]]
//   loss = grad_scale · Σ_s nll_s
//
//   x            [T, C]  activation
//   target_rows  [S]     i32, ascending, each in [0, T): only these rows are computed
//   targets      [S]     i32, each in [0, V)
//   W            [V, C]  frozen (x's dtype, bf16 or f16) or a leaf, e.g. the embedding's where tied
// Rows go through in chunks (HeadChunkRows), a function of the shape alone. The gradient is
// computed here and now, while a chunk's logits exist, if the tape would record; Backward
// multiplies it by its seed and hands it in. Sums over rows: f64, in the order of s.
#pragma once

#include "autograd/ops/lora_layer.h"
#include "autograd/tape.h"

namespace lockstep::autograd {

struct HeadWeights {
  LoraLayer layer;          // W [V, C], bias [V] or undefined
  LoraDropout dropout;      // token_keys of the T rows
  Variable magnitude = {};  // [V] of the one adapter, which has all rows; or undefined: no DoRA
};

struct HeadNllOptions {
  double grad_scale = 1;                  // 1 / (supervised tokens of the step)
  double softcap = 0;                     // 0: none
  int64_t max_logits = int64_t{1} << 24;  // elements of the chunk of logits that exists at once
};

// Rows whose logits exist at once: ⌊max_logits / V⌋, whole row tiles of products where there are
// some.
int64_t HeadChunkRows(int64_t vocab, int64_t max_logits);

struct HeadNllResult {
  Variable loss;   // f64 [1]
  Tensor nll_sum;  // f64 [1]: Σ_s nll_s
  Tensor nll;      // f64 [S]
};

HeadNllResult HeadNll(Tape& tape, const Variable& x, const Tensor& target_rows,
                      const Tensor& targets, const HeadWeights& head,
                      const HeadNllOptions& options = {});

// The logits of some rows, [R, V] in x's dtype, for generation; not differentiable.
Tensor HeadLogits(Tape& tape, const Variable& x, const Tensor& rows, const HeadWeights& head,
                  double softcap = 0);

}  // namespace lockstep::autograd
