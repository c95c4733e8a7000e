// What becomes of a step whose loss or gradient is not finite, whose loss jumps, or that has
// nothing to learn: --on_nonfinite, --on_spike, --on_zero_loss. The documents to blame are found by
// looking at the step again and named by their lines.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "data/pack.h"
#include "data/step_plan.h"
#include "trainer/flags/options.h"
#include "trainer/loss_watch.h"
#include "trainer/report/metrics.h"
#include "trainer/step/data_parallel.h"
#include "trainer/training_run.h"

namespace lockstep {

class StepGuards {
 public:
  // Both outlive this.
  StepGuards(const Run& run, DataParallel* parallel) : run_(run), parallel_(parallel) {}

  // After each step, on all ranks, with figures that are the same on all. Errors, the same on all
  // ranks: the policy is to stop. Warnings go to the log. The flat sums are used up.
  absl::Status Check(const StepRecord& record);

 private:
  // A document, and its loss: a mean over its supervised tokens, NaN where it is not finite.
  struct Suspect {
    int64_t document = 0;
    double loss = 0;
  };
  absl::Status NotFinite(const StepRecord& record);
  absl::Status Warn(OnOddLoss policy, const std::string& what, const std::string& hint);

  std::vector<Suspect> FindNotFinite(int64_t step);
  std::vector<Suspect> FindHighest(int64_t step);
  bool IsFinite(const data::Pack& pack, const data::StepPacks& step);
  std::vector<data::PackPlan> OwnPacks(const data::StepPacks& step) const;
  data::Pack Build(const data::PackPlan& plan, const data::StepPacks& step) const;
  // The ranks' suspects together, the highest loss first, as text.
  std::string Share(std::vector<Suspect> mine) const;

  const Run& run_;
  DataParallel* const parallel_;
  LossWatch watch_;
  int skipped_in_a_row_ = 0;
};

}  // namespace lockstep
