// Steps that are queued on the device. The host queues the next one while the device is still at
// them, and learns afterwards how they went.
//
//   StepInFlight& step = steps.Begin();
//   step.work = loader.Next();  …                // gradient and update, queued
//   steps.End();
//   RETURN_IF_ERROR(steps.Finish(1));            // those before this one
//   …
//   RETURN_IF_ERROR(steps.Finish(0));
//   RETURN_IF_ERROR(steps.SayWhereTimeWent());
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "data/loader.h"
#include "nn/optim/adamw.h"
#include "tensor/runtime.h"
#include "trainer/report/metrics.h"
#include "trainer/step/data_parallel.h"
#include "trainer/step/step_times.h"
#include "trainer/step_guards.h"
#include "trainer/training_run.h"

namespace lockstep {

struct StepInFlight {
  data::RankStep work;
  double learning_rate = 0;
  double load_s = 0;  // that the host waited for `work`

  // On the stream; and the step's sums and norm, on their way to the host.
  std::unique_ptr<Event> start, end;
  std::unique_ptr<HostCopy> slots, norms;
};

class StepsInFlight {
 public:
  // All outlive this.
  StepsInFlight(Run& run, DataParallel* parallel, const nn::AdamW* optimizer);

  // What is queued between these two is the step's.
  StepInFlight& Begin();
  void End();

  // Waits for the oldest steps until `remaining` are left, writes their figures down and looks at
  // them. Errors: those of StepGuards::Check, the same on all ranks; on rank 0 its files'.
  absl::Status Finish(size_t remaining);

  bool has_finished_one() const { return has_finished_one_; }
  bool stop_agreed() const { return stop_agreed_; }  // in a step that is finished

  // The rest of timings.jsonl, and a line about all steps.
  absl::Status SayWhereTimeWent();

 private:
  StepInFlight TakeSpare();
  absl::Status FinishOldest(StepInFlight& step);
  StepRecord RecordOf(const StepInFlight& step, const StepSums& sums, double seconds) const;

  Run& run_;
  DataParallel* const parallel_;
  const nn::AdamW* const optimizer_;
  StepGuards guards_;
  StepTimes times_;
  std::deque<StepInFlight> queued_;
  std::vector<StepInFlight> spare_;  // whose events and host memory are used again
  double waited_ms_ = 0;  // by the communicator's clock, until the last step that was finished
  bool has_finished_one_ = false;
  bool stop_agreed_ = false;
};

}  // namespace lockstep
