#include "dist/ending.h"

#include <signal.h>

#include <cstring>

#include "absl/strings/str_cat.h"

namespace lockstep::dist {

bool Ending::fatal() const {
  if (!signaled) return code == kExitFatal;
  return code == SIGABRT || code == SIGSEGV || code == SIGBUS || code == SIGILL || code == SIGFPE ||
         code == SIGTRAP;
}

std::string Describe(const Ending& ending) {
  if (!ending.signaled) return absl::StrCat("exited with ", ending.code);
  return absl::StrCat("was killed by signal ", ending.code, " (", strsignal(ending.code), ")");
}

}  // namespace lockstep::dist
