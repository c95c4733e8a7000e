// What the terminal behind a stream can show.
#pragma once

namespace lockstep {

// Lines can be written anew: it is a terminal, and TERM is not "dumb".
bool RewritesLines(int fd);

// As RewritesLines, and its user does not refuse colors: NO_COLOR is unset or empty
// (https://no-color.org).
bool TakesColors(int fd);

}  // namespace lockstep
