#include "nn/optim/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace lockstep::nn {

double LrSchedule::At(int64_t step) const {
  using Type = LrSchedulerType;
  if (type == Type::kConstant) return peak;
  if (step <= warmup_steps) {
    return peak * static_cast<double>(step) / static_cast<double>(warmup_steps);
  }
  if (type == Type::kConstantWithWarmup) return peak;
  const double span = static_cast<double>(std::max<int64_t>(1, total_steps - warmup_steps));
  const double progress = std::min(1.0, static_cast<double>(step - 1 - warmup_steps) / span);
  if (type == Type::kLinear) return peak * (1 - progress);
  const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * progress));
  const double least = type == Type::kCosineWithMinLr ? min_lr_rate : 0;
  return peak * (least + (1 - least) * cosine);
}

int64_t WarmupSteps(double warmup_ratio, int64_t total_steps) {
  return static_cast<int64_t>(std::ceil(warmup_ratio * static_cast<double>(total_steps)));
}

}  // namespace lockstep::nn
