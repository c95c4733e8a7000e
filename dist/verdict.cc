#include "dist/verdict.h"

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace lockstep::dist {
namespace {

constexpr size_t kMaxLastLines = 8;
constexpr size_t kMaxOthers = 4;

bool ExitedWith(const FailedRank& failed, int code) {
  return !failed.ending.signaled && failed.ending.code == code;
}

// The paragraph of the rank that found it, unless rank 0 has put its own on the terminal.
Verdict UserErrorOf(const std::vector<FailedRank>& failed) {
  for (const FailedRank& one : failed) {
    if (one.rank == 0 && ExitedWith(one, kExitUserError)) return {kExitUserError, ""};
  }
  return {kExitUserError,
          absl::StrCat("[rank ", failed[0].rank, "] ", absl::StrJoin(failed[0].last_lines, "\n"))};
}

std::string LostReport(const FailedRank& cause, const std::map<int, Beat>& beats) {
  std::string report = absl::StrCat("[rank ", cause.rank, "] ", Describe(cause.ending));
  const auto beat = beats.find(cause.rank);
  if (beat == beats.end()) {
    absl::StrAppend(&report, " before it had joined");
  } else {
    absl::StrAppend(&report, " at ", Describe(beat->second), " (host ", beat->second.host, ", pid ",
                    cause.pid, ", ", beat->second.device, ")");
  }
  if (cause.ending.orderly()) absl::StrAppend(&report, ", before the end of the run");
  const size_t said = cause.last_lines.size();
  for (size_t i = said - std::min(said, kMaxLastLines); i < said; ++i) {
    absl::StrAppend(&report, "\n  | ", cause.last_lines[i]);
  }
  size_t others = 0;
  for (const auto& [rank, other] : beats) {
    if (rank == cause.rank || ++others > kMaxOthers) continue;
    absl::StrAppend(&report, "\n  rank ", rank, " was at ", Describe(other));
  }
  if (!cause.ending.signaled) return report;
  rlimit memory;
  if (cause.ending.code == SIGKILL) {
    absl::StrAppend(&report, "\nHINT: somebody killed it, or the machine ran out of memory");
  } else if (getrlimit(RLIMIT_AS, &memory) == 0 && memory.rlim_cur != RLIM_INFINITY) {
    absl::StrAppend(&report, "\nHINT: a process may use ", memory.rlim_cur >> 20,
                    " MiB here (ulimit -v): libraries crash where that is too little");
  }
  return report;
}

}  // namespace

bool MayBeOfAllRanks(const Ending& ending) {
  return ending.fatal() ||
         (!ending.signaled && (ending.code == kExitUserError || ending.code == kExitRankLost));
}

Verdict Judge(const std::vector<FailedRank>& failed, const std::map<int, Beat>& beats,
              int world_size) {
  if (ExitedWith(failed[0], kExitUserError)) return UserErrorOf(failed);
  const bool all_fatal = failed.size() == static_cast<size_t>(world_size) &&
                         std::all_of(failed.begin(), failed.end(),
                                     [](const FailedRank& one) { return one.ending.fatal(); });
  const auto cause = std::find_if_not(failed.begin(), failed.end(), [](const FailedRank& one) {
    return ExitedWith(one, kExitRankLost);
  });
  return {all_fatal ? kExitFatal : kExitRankLost,
          LostReport(cause == failed.end() ? failed[0] : *cause, beats)};
}

}  // namespace lockstep::dist
