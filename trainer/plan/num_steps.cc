#include "trainer/plan/num_steps.h"

#include <algorithm>
#include <cmath>

namespace lockstep {

int64_t NumSteps(const TrainOptions& options, const data::StepPlan& plan) {
  if (options.max_steps) return *options.max_steps;
  const double steps = options.num_train_epochs * static_cast<double>(plan.steps_per_epoch());
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(steps - 1e-9)));
}

}  // namespace lockstep
