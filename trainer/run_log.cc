#include "trainer/run_log.h"

#include <cerrno>

#include "base/file.h"
#include "base/status.h"

namespace lockstep {

absl::StatusOr<std::unique_ptr<RunLog>> RunLog::Open(const std::string& folder, int64_t last_step,
                                                     int64_t num_steps, int64_t logging_steps) {
  auto log = std::make_unique<RunLog>();
  ASSIGN_OR_RETURN(log->metrics_, MetricsLog::Open(JoinPath(folder, "metrics.jsonl"), last_step));
  ASSIGN_OR_RETURN(log->events_, EventFile::Create(JoinPath(folder, "tensorboard")));
  const std::string log_path = JoinPath(folder, "logs/rank-0.log");
  log->log_file_.reset(std::fopen(log_path.c_str(), "a"));
  if (log->log_file_ == nullptr) return SystemError(log_path, "cannot open", errno);
  for (std::FILE* out : {stdout, log->log_file_.get()}) {
    log->progress_.push_back(std::make_unique<Progress>(out, num_steps, logging_steps));
  }
  return log;
}

absl::Status RunLog::Add(const StepRecord& record) {
  if (metrics_ == nullptr) return absl::OkStatus();
  for (const auto& progress : progress_) progress->Step(record);
  RETURN_IF_ERROR(events_->AddScalar("train/loss", record.step, record.loss));
  RETURN_IF_ERROR(events_->AddScalar("train/grad_norm", record.step, record.grad_norm));
  RETURN_IF_ERROR(events_->AddScalar("train/learning_rate", record.step, record.learning_rate));
  RETURN_IF_ERROR(events_->AddScalar("train/epoch", record.step, record.epoch));
  RETURN_IF_ERROR(
      events_->AddScalar("train/tokens_per_second", record.step, record.tokens_per_second));
  return metrics_->Add(record);
}

absl::Status RunLog::Add(const EvalRecord& record) {
  if (metrics_ == nullptr) return absl::OkStatus();
  for (const auto& progress : progress_) progress->Eval(record);
  RETURN_IF_ERROR(events_->AddScalar("eval/loss", record.step, record.eval_loss));
  return metrics_->Add(record);
}

void RunLog::Say(const std::string& line) {
  for (const auto& progress : progress_) progress->Say(line);
}

const MetricsHistory& RunLog::history() const {
  static const MetricsHistory* const none = new MetricsHistory;
  return metrics_ == nullptr ? *none : metrics_->history();
}

}  // namespace lockstep
