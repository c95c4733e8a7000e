#include "trainer/report/metrics.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/number.h"
#include "base/status.h"

namespace lockstep {
namespace {

using Json = nlohmann::json;

// JSON's null stands for a number that was not finite.
double Number(const Json& object, const char* key) {
  const Json& value = object.at(key);
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

void ReadLine(const Json& object, int64_t last_step, MetricsHistory* history) {
  const int64_t step = object.at("step").get<int64_t>();
  if (step > last_step) return;
  if (object.contains("eval_loss")) {
    history->evals.push_back(
        {step, Number(object, "eval_loss"), object.at("eval_supervised_tokens").get<int64_t>()});
    return;
  }
  StepRecord record;
  record.step = step;
  record.epoch = Number(object, "epoch");
  record.loss = Number(object, "loss");
  record.grad_norm = Number(object, "grad_norm");
  record.grad_norm_clipped = object.contains("grad_norm_clipped")
                                 ? Number(object, "grad_norm_clipped")
                                 : std::numeric_limits<double>::quiet_NaN();
  record.learning_rate = Number(object, "learning_rate");
  record.tokens = object.at("tokens").get<int64_t>();
  record.supervised_tokens = object.at("supervised_tokens").get<int64_t>();
  record.step_time_s = Number(object, "step_time_s");
  record.tokens_per_second = Number(object, "tokens_per_second");
  history->steps.push_back(record);
}

}  // namespace

std::string ToJsonLine(const StepRecord& r) {
  return absl::StrCat("{\"step\":", r.step, ",\"epoch\":", ShortestNumber(r.epoch),
                      ",\"loss\":", ShortestNumber(r.loss),
                      ",\"grad_norm\":", ShortestNumber(r.grad_norm),
                      ",\"grad_norm_clipped\":", ShortestNumber(r.grad_norm_clipped),
                      ",\"learning_rate\":", ShortestNumber(r.learning_rate),
                      ",\"tokens\":", r.tokens, ",\"supervised_tokens\":", r.supervised_tokens,
                      ",\"step_time_s\":", ShortestNumber(r.step_time_s),
                      ",\"tokens_per_second\":", ShortestNumber(r.tokens_per_second), "}\n");
}

std::string ToJsonLine(const EvalRecord& r) {
  return absl::StrCat("{\"step\":", r.step, ",\"eval_loss\":", ShortestNumber(r.eval_loss),
                      ",\"eval_supervised_tokens\":", r.eval_supervised_tokens, "}\n");
}

absl::StatusOr<MetricsHistory> ParseMetrics(absl::string_view text, absl::string_view path,
                                            int64_t last_step) {
  MetricsHistory history;
  int number = 0;
  for (;;) {
    const size_t end = text.find('\n');
    if (end == absl::string_view::npos) return history;
    const absl::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    ++number;
    try {
      ReadLine(Json::parse(line.begin(), line.end()), last_step, &history);
    } catch (const Json::exception& error) {
      return UserError(absl::StrCat(path, ":", number),
                       absl::StrCat("not a line of a metrics file: ", error.what()),
                       "--resume_from_checkpoint=none with another --output_dir starts anew");
    }
  }
}

absl::StatusOr<std::unique_ptr<MetricsLog>> MetricsLog::Open(const std::string& path,
                                                             int64_t last_step, int64_t last_eval) {
  MetricsHistory history;
  if (last_step >= 0 && FileExists(path)) {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
    ASSIGN_OR_RETURN(history, ParseMetrics(text, path, last_step));
    std::erase_if(history.evals, [&](const EvalRecord& eval) { return eval.step > last_eval; });
  }
  std::string kept;
  size_t eval = 0;
  const auto take_evals_before = [&](int64_t step) {
    while (eval < history.evals.size() && history.evals[eval].step < step) {
      kept += ToJsonLine(history.evals[eval++]);
    }
  };
  for (const StepRecord& record : history.steps) {
    take_evals_before(record.step);
    kept += ToJsonLine(record);
  }
  take_evals_before(std::numeric_limits<int64_t>::max());
  RETURN_IF_ERROR(WriteFileAtomically(path, kept));
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd < 0) return SystemError(path, "cannot open", errno);
  return std::unique_ptr<MetricsLog>(new MetricsLog(path, fd, std::move(history)));
}

MetricsLog::~MetricsLog() { close(fd_); }

absl::Status MetricsLog::Append(const std::string& line) {
  const ssize_t written = write(fd_, line.data(), line.size());
  if (written == static_cast<ssize_t>(line.size())) {
    struct stat file;  // some file systems count no links
    if (fstat(fd_, &file) != 0 || file.st_nlink > 0 || FileExists(path_)) return absl::OkStatus();
    return UserError(path_, "the file is gone; somebody removed it during the run",
                     "start the run again");
  }
  return SystemError(path_, "cannot write", written < 0 ? errno : ENOSPC,
                     "free some space and start the same command again: it resumes");
}

absl::Status MetricsLog::Add(const StepRecord& record) {
  history_.steps.push_back(record);
  return Append(ToJsonLine(record));
}

absl::Status MetricsLog::Add(const EvalRecord& record) {
  history_.evals.push_back(record);
  return Append(ToJsonLine(record));
}

}  // namespace lockstep
