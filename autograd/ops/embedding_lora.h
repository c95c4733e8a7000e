// EmbeddingLora: the share of a LoRA adapter of the embedding table, added in place.
//
//   y[t, :] += scale · A[:, ids[t]]ᵀ Bᵀ
//
//   ids  [T]     i32, each in [0, V)
//   y    [T, C]  activation: an Embedding's output; written
//   A    [r, V]  and B [C, r], in y's dtype: leaves, or frozen (PEFT's lora_embedding_A and _B)
// Saved: ids and h = [A[:, ids[t]]]_t, [T, r]. Gradients, with g = scale · dy B: dB = scale · dyᵀ
// h; dA[:, v] = Σ over t with ids[t] = v of g[t, :], in ascending t. Column `padding_idx` (−1:
// none) of A gets none, as in PEFT.
#pragma once

#include "autograd/tape.h"

namespace lockstep::autograd {

struct EmbeddingLoraOptions {
  double scale = 1;
  int64_t padding_idx = -1;
};

Variable EmbeddingLora(Tape& tape, const Tensor& ids, const Variable& y, const Variable& a,
                       const Variable& b, const EmbeddingLoraOptions& options);

}  // namespace lockstep::autograd
