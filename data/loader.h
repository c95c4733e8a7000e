// From the plan to packs in memory, ahead of the training loop.
#pragma once

#include <cstdint>
#include <memory>

#include "data/dataset.h"
#include "data/pack.h"
#include "data/step_plan.h"

namespace lockstep::data {

// The pack's rows, read from the data set. `epoch` enters token_keys.
Pack BuildPack(const Dataset& dataset, absl::Span<const Piece> pieces, const PackPlan& plan,
               int64_t epoch);

// What one rank runs in one step.
struct RankStep {
  int64_t step = 0;  // from 0
  int64_t epoch = 0;
  int64_t num_packs = 0;       // of all ranks
  int64_t num_supervised = 0;  // N of the loss: over all packs of all ranks
  int64_t num_tokens = 0;      // of all ranks
  std::vector<Pack> packs;     // this rank's; may be empty
};

// Builds this rank's packs a few steps ahead in a thread of its own. `dataset`, `pieces` and `plan`
// must outlive the loader.
class StepLoader {
 public:
  StepLoader(const Dataset& dataset, absl::Span<const Piece> pieces, const StepPlan& plan, int rank,
             int world_size, int64_t first_step);
  ~StepLoader();

  // Step first_step, first_step + 1, …
  RankStep Next();

 private:
  struct Prefetch;
  std::unique_ptr<Prefetch> prefetch_;
};

}  // namespace lockstep::data
