// How long a run is.
#pragma once

#include <cstdint>

#include "data/step_plan.h"
#include "trainer/flags/options.h"

namespace lockstep {

// The steps of the whole run: --max_steps, or the epochs'.
int64_t NumSteps(const TrainOptions& options, const data::StepPlan& plan);

}  // namespace lockstep
