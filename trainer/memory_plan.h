// How much memory a rank will need, before any weight is loaded: the same model, forward and
// backward, on a device that only counts allocations.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/options.h"
#include "trainer/training_data.h"

namespace lockstep {

struct MemoryPlan {
  int64_t model = 0;        // bytes: weights, trainable parameters, gradients, moments; on a CPU
                            // also the copy of values and moments that a checkpoint is written from
  int64_t activations = 0;  // at the worst moment of the worst pack
  int64_t num_trainable = 0;
  int64_t num_elements = 0;  // of the flat gradient buffer
  std::string buckets;       // the reduction's plan, for people

  int64_t peak() const { return model + activations; }
};

// Errors: the model cannot be used (its config or its files' headers).
absl::StatusOr<MemoryPlan> PlanMemory(const TrainOptions& options, const TrainingData& data);

// OK if `ranks` of them fit into `available` bytes; otherwise a UserError with the numbers.
absl::Status CheckFits(const MemoryPlan& plan, int ranks, int64_t available);

std::vector<std::pair<std::string, std::string>> MemoryTable(const MemoryPlan& plan);

}  // namespace lockstep
