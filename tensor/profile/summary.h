// Where a GPU's time went, by kind of work; the kinds add up to the whole.
#pragma once

#include <string>

#include "absl/types/span.h"
#include "tensor/profile/activity.h"
#include "tensor/profile/range.h"

namespace lockstep::profile {

enum class Kind { kGemm, kAttention, kPointwise, kCopy, kCommunication };
inline constexpr int kNumKinds = 5;

// Of an activity, from its name.
Kind KindOf(const std::string& name);

// Between kernels of one stream a GPU is idle for 1 to 2 µs.
inline constexpr double kLongGapUs = 10;

// Milliseconds. At each moment the activity that began first counts among those that compute or
// copy; communication counts where nothing else runs, and what is left is idle. So
//   sum of by_kind + idle = span        (by_kind[kCommunication] is what is exposed)
struct Summary {
  double span = 0;
  double by_kind[kNumKinds] = {};
  double idle = 0;
  int gaps = 0;          // stretches of idle time (communication does not end one)
  int long_gaps = 0;     // of them, above kLongGapUs: the device waited for the host or for data
  double long_idle = 0;  // in those
  double hidden_communication = 0;  // beside other work; not part of the sum
};

// Of the time from `begin_us` to `end_us`; `activities` in the order of their start.
Summary Summarize(absl::Span<const Activity> activities, double begin_us, double end_us);

// The summary, a line for each kind with ms of one of `steps` steps and its share; behind it the
// `top` kernels that took longest, all their calls together.
std::string Table(const Summary& summary, absl::Span<const Activity> activities, int steps,
                  int top);

// A timeline for chrome://tracing or ui.perfetto.dev ("Trace Event Format"): a row for the host,
// one for each stream.
std::string ChromeTrace(absl::Span<const Activity> activities, absl::Span<const HostRange> ranges,
                        int rank);

}  // namespace lockstep::profile
