// Where a run's figures go: metrics.jsonl, timings.jsonl (step_times.h), TensorBoard, the terminal,
// and logs/rank-0.log, which has what the terminal was told. Rank 0 has one that speaks; that of
// the other ranks takes everything and is silent.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/report/metrics.h"
#include "trainer/report/progress.h"
#include "trainer/report/tensorboard.h"

namespace lockstep {

class RunLog {
 public:
  // A silent one.
  RunLog() = default;

  // Continues the files of `folder` behind `last_step` (−1: anew) and the evaluation after
  // `last_eval`.
  static absl::StatusOr<std::unique_ptr<RunLog>> Open(const std::string& folder, int64_t last_step,
                                                      int64_t last_eval, int64_t num_steps,
                                                      int64_t logging_steps);

  absl::Status Add(const StepRecord& record);
  absl::Status Add(const EvalRecord& record);
  absl::Status AddTimes(const std::string& lines);
  void Say(const std::string& line);  // nothing if it is empty

  // Empty if silent.
  const MetricsHistory& history() const;

 private:
  std::unique_ptr<MetricsLog> metrics_;
  std::unique_ptr<EventFile> events_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> times_{nullptr, &std::fclose};
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> log_file_{nullptr, &std::fclose};
  std::vector<std::unique_ptr<Progress>> progress_;  // terminal and log file
};

}  // namespace lockstep
