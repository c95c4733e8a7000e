// What a run has come to when ranks of it have failed, judged by how they ended. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "dist/ending.h"
#include "dist/heartbeat.h"

namespace lockstep::dist {

// What the processes exit with, and why, for people ("" where a rank has already said it).
struct Verdict {
  int exit_code = kExitDone;
  std::string report;
};

// A rank that ended although the run went on.
struct FailedRank {
  int rank = 0;
  int64_t pid = 0;
  Ending ending;
  std::vector<std::string> last_lines;  // of what it said
};

// Whether the others may be about to end alike: it may be an error of all of them.
bool MayBeOfAllRanks(const Ending& ending);

// `failed`: in the order in which they ended, at least one. `beats`: where the ranks of the run
// were, as far as is known.
//   * The first one has found an error of the user's: that, in its own words.
//   * All `world_size` ranks have failed a check or crashed: kExitFatal.
//   * Else a rank is lost, kExitRankLost. Its peers fail because of it and exit with that code, so
//     the first that did not is the cause.
// The last two have a report of the cause: how it ended, where it was, its last words, and where
// the others were.
Verdict Judge(const std::vector<FailedRank>& failed, const std::map<int, Beat>& beats,
              int world_size);

}  // namespace lockstep::dist
