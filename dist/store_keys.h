// The names under which the parts of dist meet in the store.
#pragma once

namespace lockstep::dist {

inline constexpr char kBeatPrefix[] = "beat/";       // + rank: the newest heartbeat (heartbeat.h)
inline constexpr char kMemberPrefix[] = "member/";   // + rank: who joined, for people
inline constexpr char kWorldPrefix[] = "world/";     // + size: one entry for each size claimed
inline constexpr char kLeftPrefix[] = "left/";       // + rank: it has left the run in order
inline constexpr char kRunPrefix[] = "run/";         // what concerns everybody:
inline constexpr char kVerdict[] = "run/verdict";    //   why the run is over: a report
inline constexpr char kVerdictCode[] = "run/code";   //   what all exit with (written first)
inline constexpr char kStop[] = "run/stop";          //   asked to stop: the exit code to end with
inline constexpr char kLogDirectory[] = "run/logs";  //   where ranks' logs go
inline constexpr char kParentsEnded[] = "parents_ended";  // a counter

}  // namespace lockstep::dist
