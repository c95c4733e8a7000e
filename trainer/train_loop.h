// The training loop, from the first evaluation to the last step.
#pragma once

#include "absl/status/statusor.h"
#include "trainer/training_run.h"

namespace lockstep {

enum class Ending { kDone, kEarlyStopped, kInterrupted };

// Errors, the same on all ranks: a loss or gradient that is not finite (--on_nonfinite=stop); on
// rank 0 also what its files say.
absl::StatusOr<Ending> TrainLoop(Run& run);

}  // namespace lockstep
