// Rotary position embedding (Su et al., 2021), in the rotate-half form of transformers.
//
// RopeTable: cosines and sines, once a pack for all layers that share the frequencies.
//   angle[t, i]    = positions[t] · inv_freq[row[t], i]
//   table[t, i, 0] = attention_factor · cos(angle)
//   table[t, i, 1] = attention_factor · sin(angle)
//
//   positions  [T] i32
//   inv_freq   [R, P], contiguous; R rows of frequencies, P = rotary dimensions / 2. f32: the angle
//              is the product rounded to fp32, as transformers computes it; f64: all in double.
//   row        [T] i32, which frequencies each token uses: scalings that depend on the length of
//              the document (dynamic, longrope) have a row for each class of length. No data: 0.
//   table      [T, P, 2], contiguous, inv_freq's dtype; written
//
// Rope: rotates x in place, pairs (i, i + P) of each head's first 2P elements; the rest (partial
// rotary, Phi-3) stays. `direction` −1 rotates back, which is the backward pass.
//   x'[i]     = cos·x[i]     − direction·sin·x[i + P]
//   x'[i + P] = cos·x[i + P] + direction·sin·x[i]
//
//   x          [T, N, D], D ≥ 2P, contiguous heads, other strides any: the q and k heads of merged
//              q, k, v are one such view. f64 or f32, on CUDA f32 or bf16.
//   table      f32, or x's dtype
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

void RopeTable(const Stream& stream, const View& positions, const View& inv_freq, const View& row,
               double attention_factor, const View& table);

void Rope(const Stream& stream, const View& x, const View& table, int direction);

namespace cpu {
decltype(kernels::RopeTable) RopeTable;
decltype(kernels::Rope) Rope;
}  // namespace cpu
namespace cuda {
decltype(kernels::RopeTable) RopeTable;
decltype(kernels::Rope) Rope;
}  // namespace cuda

}  // namespace lockstep::kernels
