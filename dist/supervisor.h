// The parent: starts this node's ranks, watches over them, and answers for how they ended.
//
// The ranks are this same program, exec'd with the same arguments and with RANK, LOCAL_RANK and
// WORLD_SIZE in their environment (launch_env.h). They die with the parent. The parent serves the
// store (node 0) and therefore outlives any rank's death.
//   * SIGINT, SIGTERM or SIGHUP (unless it is ignored, as under nohup) asks the ranks to stop
//     (World::stop_requested); they agree on the step and write a checkpoint. A second SIGINT or
//     SIGTERM, or one before any rank has joined, kills them.
//   * When a rank dies, the others are ended within seconds; the report names the first one to die
//     by itself, how it ended, what it said last, and where the others were.
//   * When progress stops for stall_timeout, the report says which ranks wait where and which did
//     not arrive (watchdog.h).
// Rank 0 has the terminal. What the others write goes to `logs/rank-N.log` of the folder that rank
// 0 names (World::SetLogDirectory) and, for the report, the last lines are kept here.
#pragma once

#include <string>
#include <vector>

#include "dist/exit_code.h"  // IWYU pragma: export
#include "dist/heartbeat.h"
#include "dist/launch_env.h"

namespace lockstep::dist {

struct SuperviseOptions {
  double stall_timeout_seconds = kStallTimeoutSeconds;
  // How often a run that lost a rank is started again, on all nodes alike; the ranks see the number
  // of the attempt, from 0, as LOCKSTEP_RESTART_COUNT. A parent that is lost does not come back.
  int max_restarts = 0;
};

// Runs `argv` (argv[0] is the program's name; what is executed is this very program) as
// env.local_world_size ranks and returns what the process is to exit with (exit_code.h). Called in
// the main thread of a process with Role::kParent.
int Supervise(const LaunchEnv& env, const SuperviseOptions& options,
              const std::vector<std::string>& argv);

}  // namespace lockstep::dist
