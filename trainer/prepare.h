// What a run is, before any rank of it is known: its model's config, its data, where it starts.
#pragma once

#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "nn/config.h"
#include "trainer/checkpoint/run_identity.h"
#include "trainer/flags/options.h"
#include "trainer/plan/training_data.h"
#include "trainer/run_start.h"

namespace lockstep {

struct Prepared {
  nn::ModelConfig config;
  RunIdentity identity;
  RunStart start;
  std::unique_ptr<TrainingData> data;  // null if the run is finished
};

// `decide` gives the run's start: rank 0 and the parent look, the other ranks are told.
absl::StatusOr<Prepared> Prepare(
    const TrainOptions& options, const data::ProgressFn& progress,
    absl::FunctionRef<absl::StatusOr<RunStart>(const RunIdentity&)> decide);

}  // namespace lockstep
