// What the program exits with.
#pragma once

namespace lockstep::dist {

enum ExitCode {
  kExitDone = 0,
  kExitUserError = 1,    // the user or the environment: said in one paragraph
  kExitFatal = 2,        // a failed check, in every rank
  kExitRankLost = 3,     // a rank was lost or stalled, whatever its own code
  kExitHangup = 129,     // SIGHUP: the terminal is gone; a checkpoint was written first
  kExitInterrupt = 130,  // SIGINT; a checkpoint was written first
  kExitTerminate = 143,  // SIGTERM; a checkpoint was written first
};

}  // namespace lockstep::dist
