#include "trainer/report/startup_times.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/file.h"

namespace lockstep {
namespace {

constexpr char kMark[] = "LOCKSTEP_PARENT_START";  // seconds since boot

double SinceBoot() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Since this process began: field 22 of its stat(5), in clock ticks after boot. 0 if it cannot be
// known.
double SecondsSinceOwnStart() {
  const auto stat = ReadFile("/proc/self/stat");
  if (!stat.ok()) return 0;
  // Field 2, the name in parentheses, may hold anything.
  const std::vector<std::string> fields =
      absl::StrSplit(stat->substr(stat->rfind(')') + 1), ' ', absl::SkipEmpty());
  constexpr size_t kStartTime = 22 - 3;
  int64_t ticks = 0;
  if (fields.size() <= kStartTime || !absl::SimpleAtoi(fields[kStartTime], &ticks)) return 0;
  return std::max(
      0.0, SinceBoot() - static_cast<double>(ticks) / static_cast<double>(sysconf(_SC_CLK_TCK)));
}

// Since a parent has marked it; 0 if none has.
double SecondsSinceMark() {
  const char* mark = std::getenv(kMark);
  double seconds = 0;
  if (mark == nullptr || !absl::SimpleAtod(mark, &seconds)) return 0;
  return std::max(0.0, SinceBoot() - seconds);
}

}  // namespace

void StartupTimes::MarkParentStart() {
  setenv(kMark, absl::StrFormat("%.3f", SinceBoot()).c_str(), /*overwrite=*/1);
}

StartupTimes::StartupTimes(bool has_parent) : last_(Clock::now()) {
  const double own = SecondsSinceOwnStart();
  if (has_parent) phases_.push_back({"parent", std::max(0.0, SecondsSinceMark() - own)});
  phases_.push_back({"process", own});
}

void StartupTimes::Done(const std::string& phase) {
  const Clock::time_point now = Clock::now();
  phases_.push_back({phase, std::chrono::duration<double>(now - last_).count()});
  last_ = now;
}

std::string StartupTimes::Line() const {
  double total = 0;
  std::string parts;
  for (const auto& [phase, seconds] : phases_) {
    total += seconds;
    absl::StrAppendFormat(&parts, "%s%s %.2f", parts.empty() ? "" : ", ", phase, seconds);
  }
  return absl::StrFormat("the first step ended %.2f s after the start (%s)", total, parts);
}

}  // namespace lockstep
