// LinearOutput: what a linear layer puts out. LoRA's shares of it may be pending: y lacks them, and
// the op that reads y next adds them, inside its own pass over memory where its kernel can, which
// saves a pass, else by Whole(). They are data alone: the gradient of the whole y goes to the
// layer's op, which hands in those of its adapters.
#pragma once

#include <optional>
#include <utility>

#include "autograd/ops/lora_product.h"
#include "autograd/tape.h"

namespace lockstep::autograd {

class PendingShares {
 public:
  PendingShares() = default;  // nothing pending
  PendingShares(LoraLinear layer, Tensor h) : layer_(std::move(layer)), h_(std::move(h)) {}

  bool defined() const { return layer_.has_value(); }
  const Tensor& h() const { return h_; }  // [T, total rank]; undefined if nothing is pending

  // For a kernel that adds them: what is pending of outputs [first, first + count), if it is one
  // adapter's share, or none, of a rank that kernels take.
  bool IsOne(int64_t first, int64_t count) const {
    return !defined() || layer_->HasOneShareOfOutputs(first, count);
  }
  kernels::LoraShare Of(int64_t first, int64_t count) const {
    return defined() ? layer_->ShareOfOutputs(h_, first, count) : kernels::LoraShare{};
  }

  void AddTo(const Context& context, const View& y) const {
    if (defined()) layer_->AddShares(context, h_, y);
  }

 private:
  std::optional<LoraLinear> layer_;
  Tensor h_;
};

struct LinearOutput {
  Variable y;                  // [T, N]
  PendingShares pending = {};  // of y

  // y with its shares, which join it in place. Only one reader may ask, once.
  Variable Whole(const Context& context) const {
    if (pending.defined()) pending.AddTo(context, y.value().Mutable("linear_output"));
    return y;
  }
};

// Told to the op at the end of a segment (Tape::Checkpoint).
struct SegmentEnd {
  // The segment runs again (Tape::rerunning): nobody reads y, whose memory is left as it is, with
  // nothing pending.
  bool rerunning = false;
  // Then, where it is known: h of the run before (PendingShares::h), which need not be computed
  // again. Used by normed_mlp, where h is the end of a chain that nothing else needs.
  Tensor h = {};
};

}  // namespace lockstep::autograd
