#include "trainer/report/progress.h"

#include <sys/ioctl.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/number.h"
#include "base/terminal.h"

namespace lockstep {

namespace {

// Of the terminal; without end elsewhere. Asked for each line, as windows change.
size_t ColumnsOf(std::FILE* out) {
  winsize window{};
  const bool known = ioctl(fileno(out), TIOCGWINSZ, &window) == 0 && window.ws_col > 0;
  return known ? window.ws_col : std::numeric_limits<size_t>::max();
}

// "[########............]  40 %", at most `columns` wide.
std::string Bar(int64_t step, int64_t num_steps, size_t columns) {
  constexpr size_t kFrame = 9, kMost = 60;  // what is no bar; what is wide enough
  const size_t width = std::min(kMost, columns > kFrame ? columns - kFrame : 0);
  const double share = static_cast<double>(step) / static_cast<double>(num_steps);
  const auto done = static_cast<size_t>(share * static_cast<double>(width));
  return absl::StrFormat("[%s%s] %3d %%", std::string(done, '#'), std::string(width - done, '.'),
                         static_cast<int>(100 * share));
}

}  // namespace

std::string FormatStep(const StepRecord& r, int64_t num_steps, double remaining_s, size_t columns) {
  struct Figure {
    std::string text;
    int rank;  // 0 stays, the highest goes first
  };
  const std::string total = absl::StrCat(num_steps);
  std::vector<Figure> figures = {
      {absl::StrFormat("step %*d/%s", static_cast<int>(total.size()), r.step, total), 0},
      {absl::StrFormat("epoch %.2f", r.epoch), 3},
      {absl::StrFormat("loss %.4f", r.loss), 0},
      {absl::StrFormat("grad %.3g", r.grad_norm), 4},
      {absl::StrFormat("lr %.2e", r.learning_rate), 5},
      {absl::StrCat(HumanCount(r.tokens_per_second), " tokens/s"), 2}};
  if (remaining_s >= 0) figures.push_back({absl::StrCat("ETA ", ClockTime(remaining_s)), 1});
  const auto text = [](std::string* out, const Figure& figure) { out->append(figure.text); };
  for (int last = 5;; --last) {
    figures.erase(std::remove_if(figures.begin(), figures.end(),
                                 [&](const Figure& figure) { return figure.rank > last; }),
                  figures.end());
    const std::string line = absl::StrJoin(figures, "  ", text);
    if (line.size() <= columns || last == 0) return line;
  }
}

Progress::Progress(std::FILE* out, int64_t num_steps, int64_t logging_steps)
    : out_(out),
      terminal_(RewritesLines(fileno(out))),
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
  const std::string line = FormatStep(record, num_steps_, remaining, ColumnsOf(out_));
  const bool due =
      logging_steps_ > 0 && (record.step % logging_steps_ == 0 || record.step == num_steps_);
  if (terminal_) {
    std::fprintf(out_, "\r\033[K%s", line.c_str());
    bar_open_ = false;
    line_open_ = true;
    if (due && record.step < num_steps_) {
      std::fprintf(out_, "\n%s", Bar(record.step, num_steps_, ColumnsOf(out_)).c_str());
      bar_open_ = true;
    }
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
  std::fprintf(out_, "%s\n", VisibleText(line).c_str());
  std::fflush(out_);
}

void Progress::EndLine() {
  if (line_open_) std::fputs(bar_open_ ? "\r\033[K" : "\n", out_);
  line_open_ = bar_open_ = false;
}

}  // namespace lockstep
