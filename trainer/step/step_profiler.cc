#include "trainer/step/step_profiler.h"

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"
#include "tensor/profile/activity.h"
#include "tensor/profile/range.h"
#include "tensor/profile/summary.h"
#include "tensor/runtime.h"

namespace lockstep {
namespace {

constexpr int kTopKernels = 12;

}  // namespace

absl::StatusOr<StepRange> ParseStepRange(absl::string_view flag, const std::string& text) {
  if (text.empty()) return StepRange();
  const std::pair<std::string, std::string> ends = absl::StrSplit(text, absl::MaxSplits("..", 1));
  StepRange range;
  const bool read =
      absl::SimpleAtoi(ends.first, &range.first) &&
      absl::SimpleAtoi(ends.second.empty() && text == ends.first ? ends.first : ends.second,
                       &range.last);
  if (!read || range.first < 1 || range.last < range.first) {
    return UserError(absl::StrCat("--", flag),
                     absl::StrCat("want steps, counted from 1; got \"", text, "\""),
                     "for example 3..5");
  }
  return range;
}

absl::Status StepProfiler::Start(const Stream& stream) {
  Synchronize(stream);
  RETURN_IF_ERROR(Annotate(profile::StartWatching(), "--profile_steps"));
  profile::StartRecordingRanges();
  begin_us_ = profile::NowUs();
  watching_ = true;
  return absl::OkStatus();
}

absl::StatusOr<std::string> StepProfiler::Stop(const Stream& stream, int64_t step) {
  Synchronize(stream);
  const double end_us = profile::NowUs();
  watching_ = false;
  const std::vector<profile::HostRange> ranges = profile::StopRecordingRanges();
  const std::vector<profile::Activity> activities = profile::StopWatching();
  const profile::Summary summary = profile::Summarize(activities, begin_us_, end_us);
  const int steps = static_cast<int>(step - steps_.first + 1);
  const std::string table = absl::StrFormat(
      "where the time of steps %d to %d went, on average of one (rank %d):\n%s", steps_.first, step,
      rank_, profile::Table(summary, activities, steps, kTopKernels));
  const std::string rank = JoinPath(folder_, absl::StrCat("rank-", rank_));
  RETURN_IF_ERROR(MakeDirectories(folder_));
  RETURN_IF_ERROR(WriteFileAtomically(rank + ".txt", table));
  RETURN_IF_ERROR(
      WriteFileAtomically(rank + ".trace.json", profile::ChromeTrace(activities, ranges, rank_)));
  return absl::StrCat(table, "the timeline, for chrome://tracing or ui.perfetto.dev: ", rank,
                      ".trace.json; every rank's table and timeline lie there");
}

}  // namespace lockstep
