// CrossEntropy: negative log likelihood of one target per row of logits, and its gradient.
//
//   l = cap · tanh(logits / cap) if cap > 0, else logits
//   nll[s] = log Σ_v exp l[s, v] − l[s, targets[s]]
//   gradient: logits[s, v] ← grad_scale · (exp l[s, v] / Σ_w exp l[s, w] − [v = targets[s]])
//                                       · (1 − (l[s, v] / cap)² if cap > 0)
//
//   logits    [S, V]  f64 or f32, on CUDA f32 or bf16; contiguous rows; read, and written: by the
//                     gradient if `gradient`, otherwise undefined afterwards
//   targets   [S]     i32, each in [0, V)
//   nll       [S]     f64, contiguous; written
// The largest l is subtracted before exp; sums over v are f64 on the CPU, at least f32 elsewhere,
// in an order that depends on V and the GPU alone. Where a row has a NaN, or +∞ without a cap, its
// nll is not finite.
#pragma once

#include "tensor/view.h"

namespace lockstep::kernels {

struct CrossEntropyOptions {
  double softcap = 0;  // 0: none
  double grad_scale = 1;
  bool gradient = false;
};

void CrossEntropy(const Stream& stream, const View& logits, const View& targets, const View& nll,
                  const CrossEntropyOptions& options);

namespace cpu {
decltype(kernels::CrossEntropy) CrossEntropy;
}
namespace cuda {
decltype(kernels::CrossEntropy) CrossEntropy;
}

}  // namespace lockstep::kernels
