// Paths of the command line.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace lockstep {

// A path as the user means it: relative ones start at $BUILD_WORKING_DIRECTORY where `bazel run`
// has set it, since the process itself starts elsewhere; "~/" is the home folder, since a shell
// leaves it in --flag=~/file as it is. "-" and an empty one stay as they are.
std::string UserPath(absl::string_view path);

}  // namespace lockstep
