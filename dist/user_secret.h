// Secrets that all processes of one user know and no other user does: on one machine, and on all
// that the user has given the same.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "dist/launch_env.h"

namespace lockstep::dist {

// 32 hexadecimal digits from a file that only the user can read, in $XDG_CACHE_HOME/lockstep or
// ~/.cache/lockstep; made, from the kernel's random numbers, by whoever needs it first. "" where
// there is no such folder, or the file is not the user's alone: then there is no secret.
std::string UserSecret(const Environment& environment);

// What the user has put into $XDG_CONFIG_HOME/lockstep/secret or ~/.config/lockstep/secret, the
// same on every node; "" where there is no such file. Errors: others may read it, it is not the
// user's, or it has fewer than 32 characters.
absl::StatusOr<std::string> SharedSecret(const Environment& environment);

}  // namespace lockstep::dist
