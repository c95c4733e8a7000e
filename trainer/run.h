// A run around its loop: what is prepared, agreed on, restored, and written at the end.
#pragma once

#include "absl/status/statusor.h"
#include "dist/launch_env.h"
#include "trainer/options.h"
#include "trainer/run_folder.h"

namespace lockstep {

// What the parent of the ranks finds out before it starts them, so that what is wrong is said once
// and early: options, data, output folder, memory.
struct Preflight {
  RunStart start;  // kFinished: there is nothing to do
};
absl::StatusOr<Preflight> CheckBeforeLaunch(const TrainOptions& options, int ranks);

// --dry_run: prints the plans of data, steps, buckets and memory. An error if the run would not
// fit.
absl::Status PrintPlans(const TrainOptions& options, int ranks);

// One rank's part of the run. The exit code of the process (dist/exit_code.h).
absl::StatusOr<int> RunRank(const TrainOptions& options, const dist::LaunchEnv& env);

}  // namespace lockstep
