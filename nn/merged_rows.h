// The new values of a base model's tensors once an adapter is merged into them, some rows at a
// time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "nn/flat_parameters.h"
#include "nn/lora.h"
#include "nn/pissa.h"
#include "nn/trainable.h"
#include "nn/weights.h"
#include "tensor/context.h"

namespace lockstep::nn {

class MergedRows {
 public:
  // `parameters` are those of `trainable` with the adapter's values, on the CPU; all outlive it.
  MergedRows(const Context& context, const LoraConfig& lora, const Trainable& trainable,
             const FlatParameters& parameters)
      : context_(context),
        pissa_(lora.init == LoraInit::kPissa),
        trainable_(trainable),
        parameters_(parameters) {}

  // Whether the adapter has something to say about the tensor of this name.
  bool Touches(const std::string& name) const {
    return parameters_.IndexOf(name) >= 0 || Target(name) != nullptr;
  }

  // To be called before a tensor's first rows. PiSSA trained against W without its principal part:
  // finds that part, from the whole of W.
  absl::Status Prepare(const std::string& name, const WeightFiles::Entry& entry);

  // Changes rows [begin, end) of the tensor, which lie in `rows` as fp32. Several threads may.
  void Apply(const std::string& name, int64_t begin, int64_t end, int64_t width,
             std::vector<float>& rows) const;

 private:
  const LoraTarget* Target(const std::string& name) const;
  bool IsEmbedding(const std::string& name) const;
  Tensor Value(const std::string& name) const {
    return parameters_.Part(parameters_.values(), parameters_.IndexOf(name));
  }

  const Context& context_;
  const bool pissa_;
  const Trainable& trainable_;
  const FlatParameters& parameters_;
  PissaFactors principal_;  // of the tensor at hand
};

}  // namespace lockstep::nn
