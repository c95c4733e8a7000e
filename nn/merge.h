// Merges an adapter into its base model: a Hugging Face folder with W' = W + s·B·A (with DoRA
// m ⊙ (W + s·B·A) / ‖W + s·B·A‖), computed in fp32 and rounded once.
//
// Tensors go through one block of rows at a time, so memory does not grow with the model. Names,
// order and dtypes are the base files'; what has no adapter is copied. A tied head stays tied,
// unless the adapter treats head and embedding differently: then both are written and config.json
// says so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tensor/context.h"
#include "tensor/dtype.h"

namespace lockstep::nn {

struct MergeOptions {
  std::string model;                          // base folder
  std::string adapter;                        // PEFT folder
  std::string output;                         // new folder
  std::optional<DType> dtype = std::nullopt;  // of the output; as the base files if missing
  uint64_t max_shard_bytes = 5'000'000'000;   // one file, if it fits; shards otherwise
};

struct MergeReport {
  int64_t merged_tensors = 0;
  int64_t copied_tensors = 0;
  double largest_change = 0;    // of a weight: |W' − W|
  double largest_rounding = 0;  // of a weight: what storing W' in its dtype lost
  bool untied = false;
  std::vector<std::string> files;  // written
  std::vector<std::string> warnings;
};

// `context` is the CPU. Nothing is left behind in `output` on an error but whole files.
absl::StatusOr<MergeReport> MergeAdapter(const Context& context, const MergeOptions& options);

// How far the merged model's logits are from those of base and adapter, on documents of random
// tokens: the largest and the mean difference, next to the largest change that the adapter makes.
struct ProbeReport {
  double largest = 0;
  double mean = 0;
  double largest_effect = 0;
};
absl::StatusOr<ProbeReport> ProbeMerge(const Context& context, const MergeOptions& options);

}  // namespace lockstep::nn
