// NormedProduct: c = (or +=) gᵀ y, where y is the RMSNorm of x (rms_norm.h) and never in memory:
// LoRA's dA of a layer that reads a norm, in one pass over x.
//
//   c[k, n] = Σ_t g[t, k] · w[n] · x[t, n] · rstd[t]     (1 + w[n] in Gemma's form)
//
//   g     [T, r]; f64 or f32, on CUDA bf16
//   x     [T, C], contiguous; w [C]; g's dtype
//   rstd  [T], contiguous, as RmsNorm left it; f32 (f64 for f64)
//   c     [r, C], contiguous neighbors in a row; f32 (f64 for f64)
// Sums in f32 (f64 for f64). On CUDA g·rstd is rounded to bf16, and y is not.
//
// Whoever has y in memory, or what NormedProductTakes refuses, calls gemm.h.
#pragma once

#include "tensor/kernels/rms_norm.h"
#include "tensor/view.h"

namespace lockstep::kernels {

struct NormedMatrix {
  View x = {}, w = {}, rstd = {};
  RmsNormOptions options = {};
};

constexpr bool NormedProductTakes(DType dtype, int64_t width, int64_t rank) {
  return dtype == DType::kBF16 && width % 8 == 0 && rank % 8 == 0 && rank <= 64;
}

// Elements of f32 scratch memory that it wants.
int64_t NormedProductScratch(int64_t rows, int64_t width, int64_t rank);

void NormedProduct(const Stream& stream, const View& g, const NormedMatrix& y, const View& c,
                   bool accumulate, const View& scratch);

namespace cpu {
decltype(kernels::NormedProduct) NormedProduct;
}
namespace cuda {
decltype(kernels::NormedProduct) NormedProduct;
}

}  // namespace lockstep::kernels
