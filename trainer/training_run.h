// A rank that is about to train: everything that the loop and what stands beside it work with.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
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

// What is referred to outlives the loop.
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

}  // namespace lockstep
