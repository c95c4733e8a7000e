#include "base/terminal.h"

#include <unistd.h>

#include <cstdlib>

#include "absl/strings/string_view.h"

namespace lockstep {
namespace {

absl::string_view Variable(const char* name) { return absl::NullSafeStringView(std::getenv(name)); }

}  // namespace

bool RewritesLines(int fd) { return isatty(fd) == 1 && Variable("TERM") != "dumb"; }

bool TakesColors(int fd) { return RewritesLines(fd) && Variable("NO_COLOR").empty(); }

}  // namespace lockstep
