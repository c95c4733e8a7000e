// What is behind a Variable. Private to autograd.
#pragma once

#include <memory>
#include <string>

#include "autograd/variable.h"
#include "tensor/tensor.h"

namespace lockstep::autograd {

// Where the gradient of an activation gathers. It outlives the activation's value: the tape holds
// slots, so a value that no backward pass needs is freed as soon as the last op has read it.
struct GradientSlot {
  Tensor grad;
  View like;  // shape and dtype of the value
};

struct Variable::Node {
  enum class Kind { kFrozen, kLeaf, kActivation };
  Kind kind = Kind::kActivation;
  Tensor value;
  std::string name;                      // of a leaf
  Tensor leaf_grad;                      // of a leaf
  std::shared_ptr<GradientSlot> slot;    // of an activation that needs a gradient
  const char* overwritten_by = nullptr;  // the op that went on in this activation's memory
};

}  // namespace lockstep::autograd
