// L2 norm of the flat gradient, and the factor that clips it.
//
//   Norm:            norm[0] = sqrt(Σ_i x[i]²), in double, summed in an order that depends on n
//                    alone
//   ClipCoefficient: coefficient[0] = min(1, max_norm / (norm[0] + 1e-6)), torch's clip_grad_norm_;
//                    1 if max_norm is 0: no clipping; NaN if the norm is not finite
//
//   x            [n], contiguous; f64, f32, or i64 in quanta of 2^−kGradientFractionBits
//   norm         [1] f64
//   coefficient  [1] f64
//   partials     [NormPartials(n)] f64: workspace
// A value that is not finite makes norm so too.
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

inline constexpr int64_t kNormChunk = 1 << 14;  // elements that one partial sum covers
constexpr int64_t NormPartials(int64_t n) { return (n + kNormChunk - 1) / kNormChunk; }

void Norm(const Stream& stream, const View& x, const View& norm, const View& partials);
void ClipCoefficient(const Stream& stream, const View& norm, double max_norm,
                     const View& coefficient);

namespace cpu {
decltype(kernels::Norm) Norm;
decltype(kernels::ClipCoefficient) ClipCoefficient;
}  // namespace cpu
namespace cuda {
decltype(kernels::Norm) Norm;
decltype(kernels::ClipCoefficient) ClipCoefficient;
}  // namespace cuda

}  // namespace lockstep::kernels
