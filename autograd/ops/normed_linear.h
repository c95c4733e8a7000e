// NormedLinear: the head of a decoder's half layer in one op: the branch joins the residual stream
// (add_rms_norm.h), and a linear layer with LoRA (linear_lora.h) reads the norm of the sum.
//
//   sum = residual + branch,   y = linear(RMSNorm(sum, weight))
//
// What the linear layer reads is not kept but computed again in backward from sum, which the norm
// keeps anyway: T·C elements less in memory for one pass over as many.
#pragma once

#include "autograd/ops/add_rms_norm.h"
#include "autograd/ops/linear_lora.h"
#include "autograd/ops/pending_shares.h"

namespace lockstep::autograd {

struct NormedResult {
  Variable sum;                // [T, C], the residual stream
  Variable y;                  // [T, N]
  PendingShares pending = {};  // of y
};

// `leaves_shares`: y lacks LoRA's shares, which are pending.
NormedResult NormedLinear(Tape& tape, const ResidualInput& in, const LoraLayer& layer,
                          const LoraDropout& dropout = {}, bool leaves_shares = false);

// Hands in the gradients of the layer and of the head before it; `targets` are those of the layer's
// weights, `dy` is the gradient of its outputs. What ops with a ResidualHead have in common.
void BackwardOfNormedLinear(Gradients& g, const ResidualHead::Gradient& head,
                            const LoraLinear& layer, LoraLinear::Targets targets, const Tensor& h,
                            const Tensor& drops, const Tensor& dy);

}  // namespace lockstep::autograd
