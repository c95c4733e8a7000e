// How the flags are presented, written back and compared: by groups.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "trainer/flags/parse_flags.h"

namespace lockstep {

struct FlagGroup {
  const char* title;
  // In the order of --help. "*" in front: does not change the result of a run (paths among them,
  // whose content is compared instead).
  std::vector<const char*> flags;
};
const std::vector<FlagGroup>& FlagGroups();

// --help: the groups' flags with defaults and descriptions, wrapped to `width` columns.
std::string HelpText(int width);
// True if --help was asked for: then it has been printed, as wide as the terminal.
bool PrintedHelp();

// Every flag that is set or has a default, without those named.
FlagValues RunFlags(const std::set<std::string>& without);

// Name and value of every flag that changes the result, without those named.
std::map<std::string, std::string> ResultFlags(const std::set<std::string>& without);

// Names from other trainers, and what is said about each.
const std::map<std::string, std::string>& ForeignFlags();

}  // namespace lockstep
