// Differentiable gated linear unit; equations in tensor/kernels/glu.h.
#pragma once

#include "autograd/tape.h"
#include "tensor/kernels/glu.h"

namespace lockstep::autograd {

using kernels::GluActivation;

// act(gate) ∘ up, [T, F], of gate_up[T, 2F] = [gate | up]. Saves gate_up alone.
Variable Glu(Tape& tape, const Variable& gate_up, GluActivation activation);

}  // namespace lockstep::autograd
