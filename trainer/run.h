// A run around its loop: what is prepared, agreed on, restored, and written at the end.
#pragma once

#include "absl/status/statusor.h"
#include "dist/launch_env.h"
#include "trainer/flags/options.h"

namespace lockstep {

// One rank's part of the run. The exit code of the process (dist/exit_code.h).
absl::StatusOr<int> RunRank(const TrainOptions& options, const dist::LaunchEnv& env);

}  // namespace lockstep
