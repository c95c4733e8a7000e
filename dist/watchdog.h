// Decides from the ranks' heartbeats whether the run stands still. Pure: the caller brings the
// time.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "dist/heartbeat.h"

namespace lockstep::dist {

// The phases of a rank that is joining the run, and of one that has left it in order.
inline constexpr char kJoinPhase[] = "join";
inline constexpr char kLeftPhase[] = "left";

class Watchdog {
 public:
  Watchdog(int world_size, double stall_timeout_seconds)
      : world_size_(world_size), stall_timeout_seconds_(stall_timeout_seconds) {}

  // `beats`: the newest of every rank that has joined. `now`: seconds of a clock that does not
  // jump. Returns the report, many lines, once
  //   * a rank's heartbeat has stood still for the timeout (the process is stopped, or its host is
  //     gone), or
  //   * all ranks have joined and none has made progress for the timeout. Joining has time limits
  //     of its own.
  // Ranks that have left are out of it.
  std::optional<std::string> Check(const std::map<int, Beat>& beats, double now);

 private:
  struct Seen {
    Beat beat;
    double beat_time = 0;      // when beat.number last changed
    double progress_time = 0;  // when changes or a position last changed
  };
  std::string Report(double now) const;

  const int world_size_;
  const double stall_timeout_seconds_;
  std::map<int, Seen> seen_;
};

}  // namespace lockstep::dist
