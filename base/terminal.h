// What the terminal behind a stream can show.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace lockstep {

// Lines can be written anew: it is a terminal, and TERM is not "dumb".
bool RewritesLines(int fd);

// As RewritesLines, and its user does not refuse colors: NO_COLOR is unset or empty
// (https://no-color.org).
bool TakesColors(int fd);

// UTF-8 with control characters, but line ends and tabs, as Unicode's pictures of them, and those
// above ASCII as U+FFFD: what others wrote must not command the terminal.
std::string VisibleText(absl::string_view text);

}  // namespace lockstep
