// L2 norm of the flat gradient, and the factor that clips it.
//
//   Norm:            norm[0] = sqrt(Σ_i x[i]²), in double, summed in an order that depends on n
//                    alone: SquareSums, then RootOfSum
//   SquareSums:      partials[k] = Σ x[i]² over the k-th chunk of kNormChunk elements. Chunks of a
//                    part of the gradient that begins with a chunk are chunks of the whole: ranks
//                    can share them and get the bits that one of them would get
//   RootOfSum:       norm[0] = sqrt(Σ_k partials[k])
//   ClipCoefficient: coefficient[0] = min(1, max_norm / (norm[0] + 1e-6)), torch's clip_grad_norm_;
//                    1 if max_norm is 0: no clipping; NaN if the norm is not finite
//
//   x            [n], contiguous; f64, f32, or i64 in quanta of 2^−kGradientFractionBits
//   norm         [1] f64
//   coefficient  [1] f64
//   partials     [NormPartials(n)] f64; of Norm a workspace
// A value that is not finite makes norm so too.
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

inline constexpr int64_t kNormChunk = 1 << 14;  // elements that one partial sum covers
constexpr int64_t NormPartials(int64_t n) { return (n + kNormChunk - 1) / kNormChunk; }

void Norm(const Stream& stream, const View& x, const View& norm, const View& partials);
void SquareSums(const Stream& stream, const View& x, const View& partials);
void RootOfSum(const Stream& stream, const View& partials, const View& norm);
void ClipCoefficient(const Stream& stream, const View& norm, double max_norm,
                     const View& coefficient);

namespace cpu {
decltype(kernels::SquareSums) SquareSums;
decltype(kernels::RootOfSum) RootOfSum;
decltype(kernels::ClipCoefficient) ClipCoefficient;
}  // namespace cpu
namespace cuda {
decltype(kernels::SquareSums) SquareSums;
decltype(kernels::RootOfSum) RootOfSum;
decltype(kernels::ClipCoefficient) ClipCoefficient;
}  // namespace cuda

}  // namespace lockstep::kernels
