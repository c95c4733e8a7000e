#include "dist/watchdog.h"

#include <algorithm>
#include <limits>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace lockstep::dist {
namespace {

constexpr int kMaxListed = 8;

bool SameProgress(const Beat& a, const Beat& b) {
  return a.changes == b.changes && a.position.submitted == b.position.submitted &&
         a.position.completed == b.position.completed;
}

std::string Who(const Beat& beat) {
  return absl::StrFormat("rank %d (host %s, pid %d, %s)", beat.rank, beat.host, beat.pid,
                         beat.device);
}

}  // namespace

std::optional<std::string> Watchdog::Check(const std::map<int, Beat>& beats, double now) {
  for (const auto& [rank, beat] : beats) {
    const auto [entry, is_new] = seen_.try_emplace(rank, Seen{beat, now, now});
    Seen& seen = entry->second;
    if (is_new) continue;
    if (!SameProgress(seen.beat, beat)) seen.progress_time = now;
    if (seen.beat.number != beat.number) seen.beat_time = now;
    seen.beat = beat;
  }

  bool silent = false;
  bool progress = static_cast<int>(seen_.size()) < world_size_;
  bool active = false;
  for (const auto& [rank, seen] : seen_) {
    if (seen.beat.progress.phase == kLeftPhase) continue;
    active = true;
    silent = silent || now - seen.beat_time > stall_timeout_seconds_;
    progress = progress || seen.beat.progress.phase == kJoinPhase ||
               now - seen.progress_time <= stall_timeout_seconds_;
  }
  if (active && (silent || !progress)) return Report(now);
  return std::nullopt;
}

std::string Watchdog::Report(double now) const {
  // Guilty are ranks that are silent; else those that have called the fewest collectives.
  std::set<int> missing;
  int64_t fewest = std::numeric_limits<int64_t>::max(), most = 0;
  for (const auto& [rank, seen] : seen_) {
    if (seen.beat.progress.phase == kLeftPhase) continue;
    if (now - seen.beat_time > std::min(2.0, 0.5 * stall_timeout_seconds_)) missing.insert(rank);
    fewest = std::min(fewest, seen.beat.position.submitted);
    most = std::max(most, seen.beat.position.submitted);
  }
  const bool silent = !missing.empty();
  if (!silent && fewest < most) {
    for (const auto& [rank, seen] : seen_) {
      if (seen.beat.position.submitted == fewest) missing.insert(rank);
    }
  }

  std::string text =
      absl::StrFormat("[stall] no progress for %.0f s (--stall_timeout)", stall_timeout_seconds_);
  int listed = 0;
  for (const int rank : missing) {
    const Seen& seen = seen_.at(rank);
    if (++listed > kMaxListed) break;
    absl::StrAppend(&text, "\n  did not arrive: ", Who(seen.beat), ": ", Describe(seen.beat));
    if (silent) {
      absl::StrAppendFormat(&text, "; no heartbeat for %.1f s", now - seen.beat_time);
    }
  }
  listed = 0;
  for (const auto& [rank, seen] : seen_) {
    if (missing.count(rank) != 0 || seen.beat.progress.phase == kLeftPhase) continue;
    if (++listed > kMaxListed) break;
    absl::StrAppend(&text, missing.empty() ? "\n  stands still: " : "\n  waits: ", Who(seen.beat),
                    ": ", Describe(seen.beat));
  }
  if (listed > kMaxListed) absl::StrAppend(&text, "\n  and others");
  if (silent) {
    absl::StrAppend(&text,
                    "\nHINT: the process was stopped, or its machine is gone or out of memory");
  } else if (missing.empty()) {
    absl::StrAppend(&text,
                    "\nHINT: all ranks called the same collectives: look at the network, or "
                    "raise --stall_timeout if a step may take that long");
  }
  return text;
}

}  // namespace lockstep::dist
