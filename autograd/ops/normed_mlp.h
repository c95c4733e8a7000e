// NormedMlp: the second half of a decoder layer in one op:
//
//   sum = residual + branch,   y = down(act(gate(x)) ∘ up(x)) with x = RMSNorm(sum, weight)
//
// The same as NormedLinear, Glu and LinearLora (whose headers have the equations), but LoRA's
// shares of gate and up, and of the gradient of down's input, are added inside the gated unit's own
// pass over memory (tensor/kernels/glu_lora.h), which also has their gradients g and dB, and h and
// dA of down. The unit's output is not kept: backward, which reads gate and up anyway, has it
// again.
//
//   gate_up  [2F, C]   gate's rows, then up's; frozen, bias as well; for each half at most one
//                      adapter, or one for both
//   down     [C, F]    frozen, bias as well; at most one adapter
// Saved: what ResidualHead saves; gate and up without LoRA; h of gate, up and down; with dropout
// what LoraLinear::Drops says of gate and up, and down's mask.
#pragma once

#include "autograd/ops/linear_lora.h"
#include "autograd/ops/normed_linear.h"
#include "tensor/kernels/glu.h"

namespace lockstep::autograd {

// Whether NormedMlp computes these layers on every device: 16 bits, ranks that LoraShareFits(),
// with dropout also DroppedLoraTakes(), F a multiple of 32.
bool NormedMlpTakes(DType dtype, const LoraLayer& gate_up, const LoraLayer& down,
                    const LoraDropout& dropout);

// `ends_segment`: as in linear_lora.h. Then h of down is computed once (Tape::ComputeOnce), so that
// the second run also leaves out the gated unit.
NormedResult NormedMlp(Tape& tape, const ResidualInput& in, const LoraLayer& gate_up,
                       const LoraLayer& down, kernels::GluActivation activation,
                       const LoraDropout& dropout = {}, bool ends_segment = false);

}  // namespace lockstep::autograd
