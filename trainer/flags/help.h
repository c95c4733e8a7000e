// --help: how flags are shown.
#pragma once

#include <string>

#include "gflags/gflags.h"

namespace lockstep {

// The flag with shortest numbers: gflags prints doubles with 17 digits, 0.00020000000000000001.
gflags::CommandLineFlagInfo FlagInfo(const char* name);

//   --name=DEFAULT
//       What it means, in lines of at most `width` columns.
std::string FlagHelp(const gflags::CommandLineFlagInfo& flag, int width);

// Columns for help: those of the terminal, if it is one, within reason.
int HelpWidth();

}  // namespace lockstep
