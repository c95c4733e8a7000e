// ColumnSum: y[n] = Σ over t of x[t, n], added to y instead if `accumulate`: the gradient of a
// bias.
//
//   x   [T, N]  f64 or f32, on CUDA f32 or bf16; rows may be strided
//   y   [N]     x's dtype, or f32 where x is bf16; contiguous; written
// Sums run over t in a fixed order, in f64 on the CPU and at least f32 elsewhere.
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

void ColumnSum(const Stream& stream, const View& x, bool accumulate, const View& y);

namespace cpu {
decltype(kernels::ColumnSum) ColumnSum;
}
namespace cuda {
decltype(kernels::ColumnSum) ColumnSum;
}

}  // namespace lockstep::kernels
