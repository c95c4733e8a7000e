// DoRA (Liu et al., arXiv:2402.09353): outputs of a linear layer scaled to learned magnitudes.
//
//   DoraNorm:      norm[n] = ‖W[n, :] + scale · Σ_r B[n, r] A[r, :]‖₂
//   DoraForward:   y[t, n] = m[n] / norm[n] · x[t, n] + bias[n]
//   DoraBackward:  dx[t, n] = m[n] / norm[n] · dy[t, n]
//                  dm[n] = Σ_t dy[t, n] · x[t, n] / norm[n], added to dm instead if `accumulate`
//
//   w         [N, C]  a's type, on the CPU also bf16 or f16; contiguous rows
//   a, b      [R, C] and [N, R]; contiguous rows; x's type
//   m, norm   [N]     f64 where x is f64, otherwise f32; contiguous
//   x, y, dy, dx  [T, N]  f64 or f32, on CUDA f32 or bf16, all alike; contiguous rows
//   bias      [N]     m's type or bf16, on the CPU also f16; contiguous; or rank 0: none
//   dm        [N]     m's type; or rank 0: not wanted
// Sums over C and T are f64 on the CPU, at least f32 elsewhere, in a fixed order. y may be x, and
// dx may be dy.
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

void DoraNorm(const Stream& stream, const View& w, const View& a, const View& b, double scale,
              const View& norm);
void DoraForward(const Stream& stream, const View& x, const View& m, const View& norm,
                 const View& bias, const View& y);
void DoraBackward(const Stream& stream, const View& dy, const View& x, const View& m,
                  const View& norm, const View& dx, bool accumulate, const View& dm);

namespace cpu {
decltype(kernels::DoraNorm) DoraNorm;
decltype(kernels::DoraForward) DoraForward;
decltype(kernels::DoraBackward) DoraBackward;
}  // namespace cpu
namespace cuda {
decltype(kernels::DoraNorm) DoraNorm;
decltype(kernels::DoraForward) DoraForward;
decltype(kernels::DoraBackward) DoraBackward;
}  // namespace cuda

}  // namespace lockstep::kernels
