// Differentiable residual + norm; equations in tensor/kernels/add_rms_norm.h.
#pragma once

#include "autograd/ops/rms_norm.h"

namespace lockstep::autograd {

struct AddRmsNormResult {
  Variable sum;     // [T, C], the residual stream
  Variable normed;  // [T, C], the next block's input
};

// sum = residual + branch, or residual + RMSNorm(branch, post_weight) where `post_weight` is
// defined; normed = RMSNorm(sum, weight). Weights [C] may be frozen or leaves. Saves sum and rstd;
// with a post-norm also branch.
AddRmsNormResult AddRmsNorm(Tape& tape, const Variable& residual, const Variable& branch,
                            const Variable& post_weight, const Variable& weight,
                            const RmsNormOptions& options);

}  // namespace lockstep::autograd
