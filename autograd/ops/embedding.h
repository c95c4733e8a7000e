// Embedding: y[t, :] = scale · table[ids[t], :].
//
//   ids     [T]     i32, each in [0, V)
//   table   [V, C]  frozen, in y's dtype, bf16 or f16; or a leaf
//   y       [T, C]  `dtype`
// Gradient, where the table is a leaf: dtable[v, :] = scale · Σ over t with ids[t] = v of dy[t, :],
// in ascending t; the row `padding_idx` (−1: none) gets nothing, as in torch.nn.Embedding.
#pragma once

#include "autograd/tape.h"

namespace lockstep::autograd {

Variable Embedding(Tape& tape, const Tensor& ids, const Variable& table, DType dtype,
                   double scale = 1, int64_t padding_idx = -1);

}  // namespace lockstep::autograd
