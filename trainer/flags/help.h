// --help: how flags are shown.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gflags/gflags.h"

namespace lockstep {

// Whether our own sources define it: gflags and glog bring more, which do not exist for users.
bool IsOwnFlag(const gflags::CommandLineFlagInfo& flag);
std::vector<gflags::CommandLineFlagInfo> OwnFlags();

// The flag with shortest numbers: gflags prints doubles with 17 digits, 0.00020000000000000001.
gflags::CommandLineFlagInfo FlagInfo(const char* name);

//   --name=DEFAULT
//       What it means, in lines of at most `width` columns.
std::string FlagHelp(const gflags::CommandLineFlagInfo& flag, int width);

// The --help of a tool: `usage`, the flags of `program`'s own source, then those that it shares
// with others.
std::string ToolHelp(absl::string_view program, absl::string_view usage, int width);

// Columns for help: those of the terminal, if it is one, within reason.
int HelpWidth();

}  // namespace lockstep
