// For the backward pass of ops that work in place.
#pragma once

#include "autograd/tape.h"
#include "tensor/kernels/cast.h"

namespace lockstep::autograd {

// The gradient of output 0 in memory that the op may overwrite: as it came if nobody else holds it,
// otherwise a copy. `input` is the input that output 0 is the modified form of.
inline Tensor OwnGradient(Gradients& gradients, int input) {
  Tensor grad = gradients.TakeOutput(0);
  if (grad.unique() && grad.view().contiguous()) return grad;
  Tensor copy = gradients.NewLike(input);
  kernels::Cast(gradients.context().stream, grad, copy);
  return copy;
}

}  // namespace lockstep::autograd
