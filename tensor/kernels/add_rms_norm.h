// AddRmsNorm: what stands between two blocks of a decoder, in one pass. The branch joins the
// residual stream, and the next block's input is the norm of the sum:
//
//   sum = residual + branch                       (Llama, Mistral, Qwen, Phi-3)
//   sum = residual + RMSNorm(branch, post.w)      (Gemma 2 and 3: a norm behind each block too)
//   y   = RMSNorm(sum, w)
//
//   residual, branch, sum, y   [T, C], contiguous; f64 or f32, on CUDA f32 or bf16. sum may be
//                              residual or branch itself, y another tensor. The sum is rounded to
//                              its dtype before it is normed.
//   w, post_w                  [C], the same dtype; post_w without data: no post-norm
//   rstd, post_rstd            [T], f32 (f64 for f64), as RmsNorm leaves them; written where they
//                              have data
//
// Backward is rms_norm.h's: dsum = RmsNormBackward(dy, sum, addend = gradient of sum) is the
// gradient of residual and of branch; with a post-norm, branch gets RmsNormBackward(dsum, branch).
#pragma once

#include "tensor/kernels/rms_norm.h"
#include "tensor/view.h"

namespace lockstep::kernels {

void AddRmsNorm(const Stream& stream, const View& residual, const View& branch, const View& post_w,
                const View& w, const RmsNormOptions& options, const View& sum, const View& y,
                const View& rstd, const View& post_rstd);

namespace cpu {
decltype(kernels::AddRmsNorm) AddRmsNorm;
}
namespace cuda {
decltype(kernels::AddRmsNorm) AddRmsNorm;
}

}  // namespace lockstep::kernels
