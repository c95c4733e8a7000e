// What can happen to a process from outside, done to a rank of a run.
#pragma once

#include <sys/types.h>

#include <string>

namespace lockstep {

// The process of rank `rank` in process group `group`; -1: there is none.
pid_t RankProcessId(pid_t group, int rank);

// Whether any process of the group lives; zombies that wait for their parent do not.
bool GroupLives(pid_t group);

// Writes `replacement` over every place of the process's own memory that holds `bytes`, of the same
// length, and returns their number.
int ReplaceInMemory(pid_t pid, const std::string& bytes, const std::string& replacement);

// Shuts every TCP connection of the process down, and returns their number.
int CutConnections(pid_t pid);
// Whether it can be done here: some containers keep pidfd_getfd(2) from everybody.
bool CanCutConnections();

}  // namespace lockstep
