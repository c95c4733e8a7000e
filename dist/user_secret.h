// A secret that all processes of one user on one machine know and no other user does.
#pragma once

#include <string>

#include "dist/launch_env.h"

namespace lockstep::dist {

// 32 hexadecimal digits from a file that only the user can read, in $XDG_CACHE_HOME/lockstep or
// ~/.cache/lockstep; made, from the kernel's random numbers, by whoever needs it first. "" where
// there is no such folder, or the file is not the user's alone: then there is no secret.
std::string UserSecret(const Environment& environment);

}  // namespace lockstep::dist
