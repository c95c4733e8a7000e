#include "trainer/report/run_log.h"

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"

namespace lockstep {
namespace {

using FilePtr = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

// Continues the file behind `last_step`, whose lines begin with {"step":N.
absl::StatusOr<FilePtr> OpenTimes(const std::string& path, int64_t last_step) {
  std::string kept;
  if (last_step >= 0 && FileExists(path)) {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
    for (const absl::string_view line : absl::StrSplit(text, '\n')) {
      absl::string_view rest = line;
      int64_t step = 0;
      const bool whole = absl::ConsumePrefix(&rest, "{\"step\":") && absl::EndsWith(rest, "]}") &&
                         absl::SimpleAtoi(rest.substr(0, rest.find(',')), &step);
      if (whole && step <= last_step) absl::StrAppend(&kept, line, "\n");
    }
  }
  RETURN_IF_ERROR(WriteFileAtomically(path, kept));
  FilePtr file(std::fopen(path.c_str(), "a"), &std::fclose);
  if (file == nullptr) return SystemError(path, "cannot open", errno);
  return file;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RunLog>> RunLog::Open(const std::string& folder, int64_t last_step,
                                                     int64_t last_eval, int64_t num_steps,
                                                     int64_t logging_steps) {
  auto log = std::make_unique<RunLog>();
  ASSIGN_OR_RETURN(log->metrics_,
                   MetricsLog::Open(JoinPath(folder, "metrics.jsonl"), last_step, last_eval));
  ASSIGN_OR_RETURN(log->events_, EventFile::Create(JoinPath(folder, "tensorboard"), last_step + 1));
  ASSIGN_OR_RETURN(log->times_, OpenTimes(JoinPath(folder, "timings.jsonl"), last_step));
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
  for (const auto& [tag, value] :
       {std::pair<const char*, double>{"train/loss", record.loss},
        {"train/grad_norm", record.grad_norm},
        {"train/grad_norm_clipped", record.grad_norm_clipped},
        {"train/learning_rate", record.learning_rate},
        {"train/epoch", record.epoch},
        {"train/tokens", static_cast<double>(record.tokens)},
        {"train/supervised_tokens", static_cast<double>(record.supervised_tokens)},
        {"train/step_time_s", record.step_time_s},
        {"train/tokens_per_second", record.tokens_per_second}}) {
    RETURN_IF_ERROR(events_->AddScalar(tag, record.step, value));
  }
  return metrics_->Add(record);
}

absl::Status RunLog::Add(const EvalRecord& record) {
  if (metrics_ == nullptr) return absl::OkStatus();
  for (const auto& progress : progress_) progress->Eval(record);
  RETURN_IF_ERROR(events_->AddScalar("eval/loss", record.step, record.eval_loss));
  RETURN_IF_ERROR(events_->AddScalar("eval/supervised_tokens", record.step,
                                     static_cast<double>(record.eval_supervised_tokens)));
  return metrics_->Add(record);
}

absl::Status RunLog::AddTimes(const std::string& lines) {
  if (times_ == nullptr || lines.empty()) return absl::OkStatus();
  const bool written = std::fwrite(lines.data(), 1, lines.size(), times_.get()) == lines.size();
  if (written && std::fflush(times_.get()) == 0) return absl::OkStatus();
  return SystemError("timings.jsonl", "cannot write", errno,
                     "free some space and start the same command again: it resumes");
}

void RunLog::Say(const std::string& line) {
  if (line.empty()) return;
  for (const auto& progress : progress_) progress->Say(line);
}

const MetricsHistory& RunLog::history() const {
  static const MetricsHistory* const none = new MetricsHistory;
  return metrics_ == nullptr ? *none : metrics_->history();
}

}  // namespace lockstep
