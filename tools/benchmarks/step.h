// One optimizer step of LoRA on one device, as the trainer does it, over random tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "nn/model.h"
#include "nn/optim/adamw.h"
#include "nn/packed_tokens.h"
#include "tensor/context.h"

namespace lockstep {

class BenchStep {
 public:
  // One pack of `documents` documents of `length` tokens; every token but each first is a target.
  BenchStep(const Context& context, nn::Model* model, int64_t documents, int64_t length,
            const nn::ForwardOptions& forward);

  // Forward, backward, exact sums, clipping, AdamW; queued, not awaited.
  void Run();

  // The step's gradient sums alone, as a hash: equal bits, equal hash. Awaits the device.
  uint64_t HashOfGradient();

  nn::PackedTokens Pack() const;  // on the device
  double Loss() const;            // mean of the last Run; awaits the device
  int64_t tokens() const { return static_cast<int64_t>(ids_.size()); }

 private:
  void Gradient();

  const Context context_;
  nn::Model* const model_;
  const nn::ForwardOptions forward_;
  nn::AdamW optimizer_;
  std::vector<int32_t> ids_, positions_, starts_, rows_, targets_;
  std::vector<int64_t> token_keys_;
  Tensor seed_, nll_sum_;
  int64_t step_ = 0;
};

}  // namespace lockstep
