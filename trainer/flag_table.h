// How the flags are presented, written back and compared: by groups.
#pragma once

#include <map>
#include <string>
#include <vector>

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

// One --name=value a line of every flag that is set or has a default.
std::string RunFlags();

// Name and value of every flag that changes the result.
std::map<std::string, std::string> ResultFlags();

// Names from other trainers, and what is said about each.
const std::map<std::string, std::string>& ForeignFlags();

}  // namespace lockstep
