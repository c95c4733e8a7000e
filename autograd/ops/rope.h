// Rotary position embedding, in place on merged q, k, v; equations in tensor/kernels/rope.h.
#pragma once

#include "autograd/ops/pending_shares.h"
#include "autograd/ops/qkv_layout.h"
#include "autograd/tape.h"

namespace lockstep::autograd {

// The cosines and sines [T, P, 2] of one pack, for all layers with the same frequencies.
//   positions  [T] i32
//   inv_freq   [R, P], f32 (f64 for models in f64)
//   row        [T] i32: which of the R rows each token uses; undefined: row 0
Tensor RopeTable(const Context& context, const Tensor& positions, const Tensor& inv_freq,
                 const Tensor& row, double attention_factor);

// Whether Rope adds the shares of a layer whose outputs are q, k and v.
bool RopeTakesShares(DType dtype, const QkvLayout& layout, const Tensor& table,
                     const LoraLayer& qkv);

// Rotates the q and k heads of qkv[T, (H + 2K)·D] by `table`; v stays. What is `pending` of all
// three is added first. `qkv` is overwritten: go on with what is returned. Saves the table alone.
Variable Rope(Tape& tape, const Variable& qkv, const QkvLayout& layout, const Tensor& table,
              const PendingShares& pending = {});

}  // namespace lockstep::autograd
