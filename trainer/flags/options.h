// Everything a run was asked for, validated: what the flags say, in the libraries' own structs.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "dist/heartbeat.h"
#include "dist/launch_env.h"
#include "nn/decoder.h"
#include "nn/model.h"
#include "nn/optim/adamw.h"
#include "nn/optim/lr_schedule.h"
#include "trainer/flags/data_flags.h"
#include "trainer/flags/parse_flags.h"
#include "trainer/step/data_parallel.h"
#include "trainer/step/step_profiler.h"

namespace lockstep {

struct OptimizerOptions {
  double learning_rate = 2e-4;
  nn::LrSchedulerType lr_scheduler_type = nn::LrSchedulerType::kCosine;
  double min_lr_rate = 0;
  std::optional<int64_t> warmup_steps;  // given: instead of the ratio
  double warmup_ratio = 0.03;
  nn::AdamWOptions adamw;
};

enum class OnNonFinite { kStop, kSkip };
enum class OnOddLoss { kWarn, kStop };

struct TrainOptions {
  DataOptions data;
  nn::ModelOptions model;  // num_slots is the trainer's business
  nn::Checkpointing gradient_checkpointing = nn::Checkpointing::kNone;
  bool auto_checkpointing = false;  // instead the fastest that fits: memory_plan.h chooses
  OptimizerOptions optimizer;
  uint64_t seed = 42;

  double num_train_epochs = 1;
  std::optional<int64_t> max_steps;
  int64_t logging_steps = 1, eval_steps = 100, save_steps = 500;  // 0: never
  int64_t save_total_limit = 3;                                   // 0: all
  std::optional<int64_t> early_stopping_patience;                 // evaluations
  OnNonFinite on_nonfinite = OnNonFinite::kStop;
  OnOddLoss on_spike = OnOddLoss::kWarn, on_zero_loss = OnOddLoss::kWarn;

  std::string output_dir;              // "": runs/<run_name>
  std::string run_name;                // "": <time>-<model>-<data>
  std::string resume_from_checkpoint;  // "auto", "none" or a folder

  std::string device = "cpu";
  dist::LaunchFlags launch;
  double stall_timeout_s = dist::kStallTimeoutSeconds;
  int64_t max_restarts = 0;
  bool restarted = false;  // by the parent, after a rank was lost: what was saved is gone on with
  std::optional<int64_t> num_threads;
  ReductionOptions reduction;
  // Whether the result is the same on any number of ranks.
  bool in_lockstep() const { return reduction.sum == GradientSum::kExact; }

  StepRange profile_steps;

  bool dry_run = false;
  bool verify = false;

  // What decides the run's result, by flag, as text: a checkpoint belongs to a run with equal ones.
  // Files are not among them: their content is compared (run_identity.h).
  std::map<std::string, std::string> identity;
  // Every flag as it was resolved: run.flags.
  FlagValues run_flags;
};

// Sets flags from the command line. Errors: UserError; a flag known from other trainers is answered
// with ours.
absl::Status ParseTrainFlags(int argc, char** argv);

bool VersionRequested();

// The flags, validated. Errors: UserError naming the flag.
absl::StatusOr<TrainOptions> ReadTrainFlags();

}  // namespace lockstep
