// metrics.jsonl: what happened in each step, one JSON object a line.
//
//   {"step":7,"epoch":0.05,"loss":2.125,"grad_norm":2.5,"grad_norm_clipped":1,
//    "learning_rate":2e-04,"tokens":4096,"supervised_tokens":812,"step_time_s":0.21,
//    "tokens_per_second":19504.7}
//   {"step":100,"eval_loss":1.75,"eval_supervised_tokens":5120}
//
// Each step is there once, also after a resume, and each line reaches the disk's cache before the
// next step begins. Numbers are the shortest decimals that read back exactly, so two runs that
// agree to the last bit have textually equal lines, but for step_time_s and tokens_per_second.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lockstep {

struct StepRecord {
  int64_t step = 0;      // from 1
  double epoch = 0;      // documents seen / documents of an epoch, after this step
  double loss = 0;       // mean over the step's supervised tokens, of all packs of all ranks
  double grad_norm = 0;  // of the summed gradient, before clipping
  double grad_norm_clipped = 0;  // and after it
  double learning_rate = 0;
  int64_t tokens = 0;  // of all ranks
  int64_t supervised_tokens = 0;
  double step_time_s = 0;
  double tokens_per_second = 0;  // of all ranks
};

struct EvalRecord {
  int64_t step = 0;  // steps done before; 0: before the first
  double eval_loss = 0;
  int64_t eval_supervised_tokens = 0;
};

struct MetricsHistory {
  std::vector<StepRecord> steps;
  std::vector<EvalRecord> evals;
};

std::string ToJsonLine(const StepRecord& record);
std::string ToJsonLine(const EvalRecord& record);

// Reads a metrics.jsonl up to and with `last_step`, leaving out what a crash may have left behind:
// a last line without its end. Error: a whole line that is none of ours, with its number.
absl::StatusOr<MetricsHistory> ParseMetrics(absl::string_view text, absl::string_view path,
                                            int64_t last_step);

class MetricsLog {
 public:
  // Continues `path` behind `last_step` and the evaluation after `last_eval`: later lines are cut
  // off, atomically. last_step −1: anew.
  static absl::StatusOr<std::unique_ptr<MetricsLog>> Open(const std::string& path,
                                                          int64_t last_step, int64_t last_eval);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  absl::Status Add(const StepRecord& record);
  absl::Status Add(const EvalRecord& record);

  // Everything since the run's first step, resumed parts included.
  const MetricsHistory& history() const { return history_; }

 private:
  MetricsLog(std::string path, int fd, MetricsHistory history)
      : path_(std::move(path)), fd_(fd), history_(std::move(history)) {}
  absl::Status Append(const std::string& line);

  const std::string path_;
  const int fd_;
  MetricsHistory history_;
};

}  // namespace lockstep
