// PendingShares: LoRA's shares that a linear layer's outputs lack, for the op that reads these next
// and adds them inside its own pass over memory. They are data alone: the gradient of the whole
// outputs goes to the layer's op, which hands in those of its adapters.
#pragma once

#include <optional>
#include <utility>

#include "autograd/ops/lora_product.h"

namespace lockstep::autograd {

class PendingShares {
 public:
  PendingShares() = default;  // nothing pending
  PendingShares(LoraLinear layer, Tensor h) : layer_(std::move(layer)), h_(std::move(h)) {}

  bool defined() const { return layer_.has_value(); }

  // What is pending of outputs [first, first + count).
  kernels::LoraShare Of(int64_t first, int64_t count) const {
    return defined() ? layer_->ShareOfOutputs(h_, first, count) : kernels::LoraShare{};
  }

 private:
  std::optional<LoraLinear> layer_;
  Tensor h_;  // [T, total rank]
};

}  // namespace lockstep::autograd
