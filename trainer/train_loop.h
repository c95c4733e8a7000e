// The training loop, from the first evaluation to the last step.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dist/world.h"
#include "nn/model.h"
#include "tensor/context.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/checkpoint_saver.h"
#include "trainer/flags/options.h"
#include "trainer/plan/training_data.h"
#include "trainer/report/run_log.h"
#include "trainer/report/startup_times.h"
#include "trainer/step/step_profiler.h"

namespace lockstep {

// What a rank has before the first step. All of it outlives the loop.
struct Run {
  const TrainOptions& options;
  dist::World& world;
  Context context;
  nn::Model& model;
  const nn::ForwardOptions& forward;  // of training
  const TrainingData& data;
  RunLog& log;
  int64_t num_steps;

  CheckpointSaver& saver;
  StepProfiler& profiler;
  StartupTimes& startup;

  CheckpointState state;  // where the run stands; the loop carries it on

  // After each evaluation: a good moment to show the run so far.
  std::function<absl::Status()> on_evaluation;
};

enum class Ending { kDone, kEarlyStopped, kInterrupted };

// Errors, the same on all ranks: a loss or gradient that is not finite (--on_nonfinite=stop); on
// rank 0 also what its files say.
absl::StatusOr<Ending> TrainLoop(Run& run);

// The steps of the whole run: --max_steps, or the epochs'.
int64_t NumSteps(const TrainOptions& options, const data::StepPlan& plan);

}  // namespace lockstep
