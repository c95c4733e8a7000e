#include "trainer/step/step_times.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace lockstep {
namespace {

constexpr size_t kMaxPending = 64;
constexpr size_t kMaxGathered = 8192;  // values at once: 64 KiB (kMaxHostBytes of NCCL)

std::string Line(absl::Span<const StepTime> ranks) {
  const auto values = [&](auto value) {
    return absl::StrCat("[",
                        absl::StrJoin(ranks, ",",
                                      [&](std::string* out, const StepTime& t) {
                                        absl::StrAppendFormat(out, "%.3f", value(t));
                                      }),
                        "]");
  };
  const auto tokens = [](std::string* out, const StepTime& t) { absl::StrAppend(out, t.tokens); };
  return absl::StrCat("{\"step\":", ranks[0].step,
                      ",\"step_ms\":", values([](auto& t) { return t.step_ms; }),
                      ",\"own_ms\":", values([](auto& t) { return t.own_ms(); }),
                      ",\"exposed_ms\":", values([](auto& t) { return t.exposed_ms; }),
                      ",\"load_ms\":", values([](auto& t) { return t.load_ms; }), ",\"tokens\":[",
                      absl::StrJoin(ranks, ",", tokens), "]}\n");
}

}  // namespace

StepTimes::StepTimes(dist::Communicator* communicator, int64_t warm_up)
    : communicator_(communicator),
      warm_up_(warm_up),
      capacity_(std::clamp<size_t>(kMaxGathered / static_cast<size_t>(communicator->size()), 1,
                                   kMaxPending)) {
  sum_.own_ms.resize(static_cast<size_t>(communicator->size()));
}

std::string StepTimes::Add(const StepTime& mine) {
  pending_.push_back(mine);
  return pending_.size() < capacity_ ? "" : Flush();
}

std::string StepTimes::Flush() {
  const size_t steps = pending_.size();
  if (steps == 0) return "";
  const auto gather = [&](auto value) {  // [rank][step]
    std::vector<double> mine;
    for (const StepTime& time : pending_) mine.push_back(static_cast<double>(value(time)));
    return dist::AllGatherValues(*communicator_, std::move(mine), "step times");
  };
  const std::vector<double> step_ms = gather([](auto& t) { return t.step_ms; });
  const std::vector<double> exposed_ms = gather([](auto& t) { return t.exposed_ms; });
  const std::vector<double> load_ms = gather([](auto& t) { return t.load_ms; });
  const std::vector<double> tokens = gather([](auto& t) { return t.tokens; });
  std::string lines;
  for (size_t s = 0; s < steps; ++s) {
    std::vector<StepTime> ranks;
    for (size_t at = s; at < step_ms.size(); at += steps) {
      ranks.push_back({pending_[s].step, step_ms[at], exposed_ms[at], load_ms[at],
                       static_cast<int64_t>(tokens[at])});
    }
    Count(ranks);
    lines += Line(ranks);
  }
  pending_.clear();
  return lines;
}

void StepTimes::Count(absl::Span<const StepTime> ranks) {
  if (++num_seen_ <= warm_up_) return;
  ++sum_.steps;
  const auto n = static_cast<double>(ranks.size());
  double least = ranks[0].exposed_ms, sum = 0;
  for (size_t r = 0; r < ranks.size(); ++r) {
    sum_.step_ms += ranks[r].step_ms / n;
    sum_.own_ms[r] += ranks[r].own_ms();
    least = std::min(least, ranks[r].exposed_ms);
    sum += ranks[r].exposed_ms;
  }
  sum_.exposed_ms += least;
  sum_.late_ms += sum / n - least;
}

StepTimes::Average StepTimes::average() const {
  Average average = sum_;
  const double steps = std::max(1.0, static_cast<double>(sum_.steps));
  for (double* ms : {&average.step_ms, &average.exposed_ms, &average.late_ms}) *ms /= steps;
  for (double& ms : average.own_ms) ms /= steps;
  return average;
}

std::string StepTimes::Summary() const {
  const Average a = average();
  if (a.own_ms.size() < 2 || a.steps == 0) return "";
  const auto [least, most] = std::minmax_element(a.own_ms.begin(), a.own_ms.end());
  return absl::StrFormat(
      "of a step of %.2f ms: sums that nothing hid %.2f ms (%.2f %%), waiting for the step's "
      "slowest rank %.2f ms (%.2f %%); own work %.2f ms (rank %d) to %.2f ms (rank %d)",
      a.step_ms, a.exposed_ms, 100 * a.exposed_ms / a.step_ms, a.late_ms,
      100 * a.late_ms / a.step_ms, *least, static_cast<int>(least - a.own_ms.begin()), *most,
      static_cast<int>(most - a.own_ms.begin()));
}

}  // namespace lockstep
