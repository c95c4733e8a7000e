// How a rank's process ended.
#pragma once

#include <string>

#include "dist/exit_code.h"

namespace lockstep::dist {

struct Ending {
  bool signaled = false;
  int code = 0;  // exit code, or the signal

  bool fatal() const;  // a failed check or a crash: exit code 2, SIGABRT, SIGSEGV …
  // It has done its work, or stopped when it was asked to.
  bool orderly() const {
    return !signaled && (code == kExitDone || code == kExitHangup || code == kExitInterrupt ||
                         code == kExitTerminate);
  }
};
std::string Describe(const Ending& ending);  // "was killed by signal 9 (Killed)", "exited with 1"

}  // namespace lockstep::dist
