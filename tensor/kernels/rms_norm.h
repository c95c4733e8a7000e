// RMSNorm: y = g · x / sqrt(mean(x²) + eps) over the last dimension (Zhang and Sennrich, 2019).
//
//   rstd[t, n] = 1 / sqrt(Σ_c x[t, n, c]² / C + eps)
//   kLlama:  y[t, n, c] = w[c] · x[t, n, c]·rstd[t, n]        (x·rstd rounded to x's dtype first)
//   kGemma:  y[t, n, c] = (1 + w[c]) · x[t, n, c]·rstd[t, n]  (rounded once, at the end)
//
//   x, y     [T, N, C] or [T, C] (N = 1), any strides with contiguous rows; f64 or f32, on CUDA
//            f32 or bf16. y may be x itself: rows are read before they are written. N > 1 norms the
//            heads of a slice of merged q, k, v (Qwen3, Gemma 3).
//   w        [C], x's dtype
//   rstd     [T, N], contiguous; f32 (f64 for f64): for backward. No data: not wanted.
//
// Backward, with x̂ = x·rstd and g = w or 1 + w:
//   dx = addend + rstd · (g·dy − x̂ · mean(g·dy·x̂));   dw = Σ_{t,n} dy·x̂
//
//   dy, dx   as y and x; dx may be dy itself, or addend
//   addend   as dx, e.g. the gradient that the residual stream brings; no data: zero
//   dw       [C], f32 (f64 for f64); no data: not wanted. Overwritten, or added to (`accumulate`).
//   partials [RmsNormPartials(T·N, C), C], dw's dtype, only with dw: sums over fixed ranges of
//            rows, added in order, so that dw has the same bits on every run.
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

enum class NormForm : uint8_t { kLlama, kGemma };

struct RmsNormOptions {
  double eps = 1e-6;
  NormForm form = NormForm::kLlama;
};

// Into how many ranges backward cuts the rows to sum dw: a function of the shape alone.
constexpr int64_t RmsNormPartials(int64_t rows, int64_t width) {
  const int64_t ranges = width < 512 ? 32768 / width : 64;
  return rows < ranges ? rows : ranges;
}

void RmsNorm(const Stream& stream, const View& x, const View& w, const RmsNormOptions& options,
             const View& y, const View& rstd);

// y again, from x and the rstd that RmsNorm left; the same bits. x, y [T, C], contiguous.
void RmsNormAgain(const Stream& stream, const View& x, const View& w, const View& rstd,
                  const RmsNormOptions& options, const View& y);

void RmsNormBackward(const Stream& stream, const View& dy, const View& x, const View& w,
                     const View& rstd, const RmsNormOptions& options, const View& addend,
                     const View& dx, const View& dw, bool accumulate, const View& partials);

namespace cpu {
decltype(kernels::RmsNorm) RmsNorm;
decltype(kernels::RmsNormAgain) RmsNormAgain;
decltype(kernels::RmsNormBackward) RmsNormBackward;
}  // namespace cpu
namespace cuda {
decltype(kernels::RmsNorm) RmsNorm;
decltype(kernels::RmsNormAgain) RmsNormAgain;
decltype(kernels::RmsNormBackward) RmsNormBackward;
}  // namespace cuda

}  // namespace lockstep::kernels
