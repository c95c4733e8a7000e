// LoRA's narrow products on inputs that are dropped from, each adapter with a mask of its own:
// dropout_i(x) = m_i ∘ x / (1 − p), in one pass over what is wide and never in memory.
//
//   DroppedInputs      h_i = dropout_i(x) A_iᵀ
//   DroppedGradients   dA_i = (or +=) h_iᵀ dropout_i(x), h_i being the first one's gradient, g_i
//   DroppedShares      dx = (or +=) Σ_i dropout_i(h_i A_i), h_i being g_i again
//
//   x, dx  [T, C]    contiguous neighbors in a row; f64 or f32, on CUDA bf16
//   a      [r_i, C]  x's dtype, contiguous neighbors in a row
//   h      [T, r_i]  likewise
//   mask             dropout_mask.h, of [T, C]; the same p in all
//   da     [r_i, C]  f32 (f64 for f64), contiguous neighbors in a row; no view (rank 0): not wanted
// In DroppedGradients x may stand for its RMSNorm (normed_product.h). Sums in f32 (f64 for f64);
// on CUDA g·rstd is rounded to bf16, and x / (1 − p) is not.
//
// On CUDA they want what DroppedLoraTakes says, and rows at 16 bytes; others call dropout.h and
// gemm.h. Deterministic, a function of the shapes.
#pragma once

#include <vector>

#include "tensor/kernels/dropout_mask.h"
#include "tensor/kernels/normed_product.h"
#include "tensor/view.h"

namespace lockstep::kernels {

struct DroppedPart {
  View a = {}, h = {};
  DropoutMask mask = {};
  View da = {};
  bool accumulate = false;  // da
};

constexpr bool DroppedLoraTakes(DType dtype, int64_t width, int64_t rank) {
  return NormedProductTakes(dtype, width, rank);
}

// Elements of f32 scratch memory that DroppedGradients wants, whatever the ranks.
int64_t DroppedGradientsScratch(int64_t rows, int64_t width);

void DroppedInputs(const Stream& stream, const View& x, const std::vector<DroppedPart>& parts);
// x.rstd has no view (rank 0) where x is meant itself.
void DroppedGradients(const Stream& stream, const NormedMatrix& x,
                      const std::vector<DroppedPart>& parts, const View& scratch);
void DroppedShares(const Stream& stream, const std::vector<DroppedPart>& parts, bool accumulate,
                   const View& dx);

namespace cpu {
decltype(kernels::DroppedInputs) DroppedInputs;
decltype(kernels::DroppedGradients) DroppedGradients;
decltype(kernels::DroppedShares) DroppedShares;
}  // namespace cpu
namespace cuda {
decltype(kernels::DroppedInputs) DroppedInputs;
decltype(kernels::DroppedGradients) DroppedGradients;
decltype(kernels::DroppedShares) DroppedShares;
}  // namespace cuda

}  // namespace lockstep::kernels
