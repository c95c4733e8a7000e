// Learning rates: pure functions of the optimizer step, so the same on any number of ranks and
// after any resume.
//
// With W warm-up steps, N steps in all and s counting from 1: rate(s) = peak · s/W up to s = W;
// from then on, with progress t = (s − 1 − W) / (N − W),
//
//   constant               peak, without warm-up
//   constant_with_warmup   peak
//   linear                 peak · (1 − t)
//   cosine                 peak · (1 + cos(πt)) / 2
//   cosine_with_min_lr     peak · (m + (1 − m)·(1 + cos(πt)) / 2), m = min_lr_rate
#pragma once

#include <cstdint>

namespace lockstep::nn {

enum class LrSchedulerType { kConstant, kConstantWithWarmup, kLinear, kCosine, kCosineWithMinLr };

struct LrSchedule {
  LrSchedulerType type = LrSchedulerType::kCosine;
  double peak = 2e-4;
  int64_t warmup_steps = 0;
  int64_t total_steps = 1;
  double min_lr_rate = 0;  // cosine_with_min_lr

  // The rate of step `step`, from 1.
  double At(int64_t step) const;
};

// The steps that a share of the whole run comes to, rounded up.
int64_t WarmupSteps(double warmup_ratio, int64_t total_steps);

}  // namespace lockstep::nn
