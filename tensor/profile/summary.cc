#include "tensor/profile/summary.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"

namespace lockstep::profile {
namespace {

constexpr const char* kKindNames[kNumKinds] = {"gemm", "attention", "pointwise", "copies, fills",
                                               "communication"};

// A timeline's event: what has a beginning and a length.
nlohmann::json Complete(const std::string& name, const char* category, double start_us,
                        double end_us, int rank, int row) {
  return {{"name", name}, {"cat", category},          {"ph", "X"}, {"ts", start_us},
          {"pid", rank},  {"dur", end_us - start_us}, {"tid", row}};
}

nlohmann::json RowName(int rank, int row, const std::string& name) {
  return {{"name", "thread_name"},
          {"ph", "M"},
          {"pid", rank},
          {"tid", row},
          {"args", {{"name", name}}}};
}

}  // namespace

Kind KindOf(const std::string& name) {
  const auto has = [&](const char* part) { return absl::StrContains(name, part); };
  if (has("nccl")) return Kind::kCommunication;
  if (has("cudnn") || has("sdpa") || has("fmha") || has("flash") || has("Attention")) {
    return Kind::kAttention;
  }
  if (has("gemm") || has("nvjet") || has("cutlass") || has("splitK") || has("cublas")) {
    return Kind::kGemm;
  }
  const bool copy = absl::StartsWith(name, "copy of") || absl::StartsWith(name, "fill of");
  return copy ? Kind::kCopy : Kind::kPointwise;
}

Summary Summarize(absl::Span<const Activity> activities, double begin_us, double end_us) {
  Summary summary;
  const auto count = [&](int kind, double us) { summary.by_kind[kind] += 1e-3 * us; };
  // What computes or copies: each moment once, for the activity that began first.
  double busy_until = begin_us;
  std::vector<std::pair<double, double>> gaps;
  for (const Activity& activity : activities) {
    const Kind kind = KindOf(activity.name);
    if (kind == Kind::kCommunication) continue;
    const double start = std::clamp(activity.start_us, begin_us, end_us);
    const double end = std::clamp(activity.end_us, begin_us, end_us);
    if (start > busy_until) gaps.push_back({busy_until, start});
    if (end > busy_until) count(static_cast<int>(kind), end - std::max(start, busy_until));
    busy_until = std::max(busy_until, end);
  }
  if (end_us > busy_until) gaps.push_back({busy_until, end_us});
  // In the gaps: communication, each moment once.
  double exposed_us = 0, communication_us = 0, counted_until = begin_us;
  size_t gap = 0;
  for (const Activity& activity : activities) {
    if (KindOf(activity.name) != Kind::kCommunication) continue;
    const double start = std::max(activity.start_us, counted_until);
    const double end = std::min(activity.end_us, end_us);
    if (end <= start) continue;
    communication_us += end - start;
    counted_until = end;
    while (gap < gaps.size() && gaps[gap].second <= start) ++gap;
    for (size_t g = gap; g < gaps.size() && gaps[g].first < end; ++g) {
      exposed_us += std::max(0.0, std::min(end, gaps[g].second) - std::max(start, gaps[g].first));
    }
  }
  count(static_cast<int>(Kind::kCommunication), exposed_us);
  summary.hidden_communication = 1e-3 * (communication_us - exposed_us);
  summary.span = 1e-3 * (end_us - begin_us);
  for (const auto& [from, to] : gaps) {
    summary.idle += 1e-3 * (to - from);
    ++summary.gaps;
    if (to - from <= kLongGapUs) continue;
    ++summary.long_gaps;
    summary.long_idle += 1e-3 * (to - from);
  }
  summary.idle -= 1e-3 * exposed_us;
  return summary;
}

std::string Table(const Summary& summary, absl::Span<const Activity> activities, int steps,
                  int top) {
  std::string text;
  const auto line = [&](const char* name, double ms) {
    absl::StrAppendFormat(&text, "  %-22s %10.3f ms %6.1f %%\n", name, ms / steps,
                          100 * ms / std::max(summary.span, 1e-9));
  };
  for (int kind = 0; kind < kNumKinds; ++kind) {
    const bool communication = kind == static_cast<int>(Kind::kCommunication);
    line(communication ? "exposed communication" : kKindNames[kind], summary.by_kind[kind]);
  }
  line("idle", summary.idle);
  absl::StrAppendFormat(&text, "    %.1f gaps, of which %.1f above %.0f µs: %.3f ms\n",
                        1.0 * summary.gaps / steps, 1.0 * summary.long_gaps / steps, kLongGapUs,
                        summary.long_idle / steps);
  line("the step", summary.span);
  if (summary.hidden_communication > 0) line("hidden communication", summary.hidden_communication);
  std::map<std::string, std::pair<int, double>> kernels;
  for (const Activity& activity : activities) {
    auto& [count, us] = kernels[activity.name];
    ++count;
    us += activity.end_us - activity.start_us;
  }
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [name, kernel] : kernels) order.push_back({kernel.second, name});
  std::sort(order.rbegin(), order.rend());
  order.resize(std::min<size_t>(order.size(), static_cast<size_t>(top)));
  for (const auto& [us, name] : order) {
    const int count = kernels[name].first;
    absl::StrAppendFormat(&text, "  %10.3f ms  %7.1f × %9.1f µs  %s\n", 1e-3 * us / steps,
                          1.0 * count / steps, us / count, name);
  }
  return text;
}

std::string ChromeTrace(absl::Span<const Activity> activities, absl::Span<const HostRange> ranges,
                        int rank) {
  constexpr int kHostRow = 0;
  nlohmann::json events = nlohmann::json::array();
  events.push_back({{"name", "process_name"},
                    {"ph", "M"},
                    {"pid", rank},
                    {"args", {{"name", absl::StrFormat("rank %d", rank)}}}});
  events.push_back(RowName(rank, kHostRow, "host"));
  std::set<int> streams;
  for (const Activity& activity : activities) {
    if (streams.insert(activity.stream).second) {
      events.push_back(
          RowName(rank, 1 + activity.stream, absl::StrFormat("stream %d", activity.stream)));
    }
    events.push_back(Complete(activity.name, kKindNames[static_cast<int>(KindOf(activity.name))],
                              activity.start_us, activity.end_us, rank, 1 + activity.stream));
  }
  for (const HostRange& range : ranges) {
    events.push_back(Complete(range.name, "host", range.start_us, range.end_us, rank, kHostRow));
  }
  return nlohmann::json{{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}}.dump();
}

}  // namespace lockstep::profile
