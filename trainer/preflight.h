// What can be known of a run before its ranks start.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "dist/launch_env.h"
#include "trainer/flags/options.h"
#include "trainer/output_folder.h"
#include "trainer/run_start.h"

namespace lockstep {

// For the parent of the ranks, so that what is wrong is said once and early: options, data, output
// folder, memory. Where the run starts; if that is kFinished there is nothing to do. `*folder`
// becomes the run's own, for as long as it lives.
absl::StatusOr<RunStart> CheckBeforeLaunch(const TrainOptions& options, int ranks,
                                           OutputFolder* folder);

// --dry_run: prints the plans of data, steps, buckets and memory. An error if the run would not
// fit.
absl::Status PrintPlans(const TrainOptions& options, const dist::LaunchEnv& env);

}  // namespace lockstep
