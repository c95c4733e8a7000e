// PendingShares: what LoRA adds to the outputs of a linear layer, left by the layer's op to the
// next one, whose kernel reads those outputs anyway: a pass over memory less. It is data alone;
// gradients reach the adapters through the layer's op. Who takes shares says so
// (AddRmsNormTakesShares); the others must not be given any.
#pragma once

#include <optional>

#include "autograd/ops/lora_product.h"

namespace lockstep::autograd {

class PendingShares {
 public:
  PendingShares() = default;  // nothing pending
  PendingShares(LoraLinear layer, Tensor h) : layer_(std::move(layer)), h_(std::move(h)) {}

  bool defined() const { return layer_.has_value(); }
  const Tensor& h() const { return h_; }  // undefined if nothing is pending
  // The share of outputs [first, first + count); one adapter or none reaches them.
  kernels::LoraShare Of(int64_t first, int64_t count) const {
    return layer_->ShareOfOutputs(h_, first, count, nullptr);
  }

 private:
  std::optional<LoraLinear> layer_;
  Tensor h_;
};

// Whether a share of these outputs is one adapter's, of a rank that kernels take, or none.
bool IsOneShare(const LoraLayer& layer, int64_t first, int64_t count);

}  // namespace lockstep::autograd
