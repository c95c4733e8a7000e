// RMSNorm of each query and key head, in place (Qwen3, Gemma 3), before rope.
#pragma once

#include "autograd/ops/qkv_layout.h"
#include "autograd/ops/rms_norm.h"

namespace lockstep::autograd {

// Norms the q heads of qkv[T, (H + 2K)·D] by q_weight[D] and the k heads by k_weight[D]; v stays.
// `qkv` is overwritten: go on with what is returned. Saves a copy of the q and k heads, and rstd.
Variable HeadNorm(Tape& tape, const Variable& qkv, const Variable& q_weight,
                  const Variable& k_weight, const QkvLayout& layout, const RmsNormOptions& options);

}  // namespace lockstep::autograd
