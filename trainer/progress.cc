#include "trainer/progress.h"

#include <unistd.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "trainer/number.h"

namespace lockstep {

std::string FormatStep(const StepRecord& r, int64_t num_steps, double remaining_s) {
  const std::string total = absl::StrCat(num_steps);
  std::string line =
      absl::StrFormat("step %*d/%s  epoch %.2f  loss %.4f  grad %.3g  lr %.2e  %s tokens/s",
                      static_cast<int>(total.size()), r.step, total, r.epoch, r.loss, r.grad_norm,
                      r.learning_rate, HumanCount(r.tokens_per_second));
  if (remaining_s >= 0) absl::StrAppend(&line, "  ETA ", ClockTime(remaining_s));
  return line;
}

Progress::Progress(std::FILE* out, int64_t num_steps, int64_t logging_steps)
    : out_(out),
      terminal_(isatty(fileno(out)) == 1),
      num_steps_(num_steps),
      logging_steps_(logging_steps) {}

Progress::~Progress() {
  EndLine();
  std::fflush(out_);
}

void Progress::Step(const StepRecord& record) {
  seconds_per_step_ = seconds_per_step_ == 0 ? record.step_time_s
                                             : 0.9 * seconds_per_step_ + 0.1 * record.step_time_s;
  const double remaining = seconds_per_step_ * static_cast<double>(num_steps_ - record.step);
  const std::string line = FormatStep(record, num_steps_, remaining);
  const bool due =
      logging_steps_ > 0 && (record.step % logging_steps_ == 0 || record.step == num_steps_);
  if (terminal_) {
    std::fprintf(out_, "\r\033[K%s", line.c_str());
    line_open_ = true;
  } else if (due) {
    std::fprintf(out_, "%s\n", line.c_str());
  }
  std::fflush(out_);
}

void Progress::Eval(const EvalRecord& record) {
  Say(absl::StrFormat("eval after step %d: loss %.4f, perplexity %.4g over %d supervised tokens",
                      record.step, record.eval_loss, std::exp(record.eval_loss),
                      record.eval_supervised_tokens));
}

void Progress::Say(const std::string& line) {
  EndLine();
  std::fprintf(out_, "%s\n", line.c_str());
  std::fflush(out_);
}

void Progress::EndLine() {
  if (line_open_) std::fputc('\n', out_);
  line_open_ = false;
}

}  // namespace lockstep
