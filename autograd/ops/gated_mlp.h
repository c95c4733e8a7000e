// GatedMlp: y = down(act(gate(x)) ∘ up(x)), all three linear layers with LoRA.
//
// The same as Glu between two LinearLora (linear_lora.h has their equations), but LoRA's shares of
// gate and up, and of the gradient of down's input, are added inside the gated unit's own pass over
// memory (tensor/kernels/glu_lora.h), and the unit's output is not kept: backward, which reads gate
// and up anyway, writes it once more for down's dA. Without dropout.
//
//   x        [T, C]    activation
//   gate_up  [2F, C]   gate's rows, then up's; frozen, bias as well; for each half at most one
//                      adapter, or one for both
//   down     [C, F]    frozen, bias as well
// Saved: x where an A of gate or up is a leaf; gate and up without LoRA; h of gate, up and down.
#pragma once

#include <vector>

#include "autograd/ops/linear_lora.h"
#include "autograd/tape.h"
#include "tensor/kernels/glu.h"

namespace lockstep::autograd {

struct LoraLayer {
  Variable w, bias;  // bias may be undefined
  std::vector<LoraAdapter> adapters;
};

// Whether GatedMlp computes these layers on every device: 16 bits, ranks even and at most 64, F a
// multiple of 32.
bool GatedMlpTakes(DType dtype, const LoraLayer& gate_up, const LoraLayer& down);

Variable GatedMlp(Tape& tape, const Variable& x, const LoraLayer& gate_up, const LoraLayer& down,
                  kernels::GluActivation activation);

}  // namespace lockstep::autograd
