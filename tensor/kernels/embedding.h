// Embedding: y[t, :] = scale · table[ids[t], :], and its gradient.
//
//   ids     [T]     i32, each in [0, V)
//   table   [V, C]  y's type, bf16 or f16, on CUDA f32 or bf16; contiguous rows
//   y       [T, C]  f64 or f32, on CUDA f32 or bf16; contiguous rows; written. Where scale = 1 and
//                   the types are equal (any type), rows are copied: a gather
// EmbeddingBackward: dtable[v, :] = scale · Σ over t with ids[t] = v of dy[t, :], in ascending t;
// added to dtable instead if `accumulate`. With accumulate and distinct ids it is a scatter.
//   dy      [T, C]  f64 or f32, on CUDA f32 or bf16; contiguous rows
//   dtable  [V, C]  dy's type, or f32 where dy is bf16; written
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

void Embedding(const Stream& stream, const View& ids, const View& table, double scale,
               const View& y);
void EmbeddingBackward(const Stream& stream, const View& ids, const View& dy, double scale,
                       bool accumulate, const View& dtable);

namespace cpu {
decltype(kernels::Embedding) Embedding;
decltype(kernels::EmbeddingBackward) EmbeddingBackward;
}  // namespace cpu
namespace cuda {
decltype(kernels::Embedding) Embedding;
decltype(kernels::EmbeddingBackward) EmbeddingBackward;
}  // namespace cuda

}  // namespace lockstep::kernels
