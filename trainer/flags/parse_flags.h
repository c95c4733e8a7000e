// gflags, set from the command line, with errors for people.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace lockstep {

// Sets the gflags that `argv[1..]` gives (--name=value, --name value, --name and --noname for
// bools, --flagfile=FILE, -- ends the flags) and returns the remaining arguments. A flag that does
// not exist or does not parse is an error that names it, with the flag that may be meant as HINT:
// the nearest name, those with a word that begins so, or with the same first word. A flag file's
// error names file and line.
//
// `foreign`: flags that do not exist but that people know from elsewhere, each with its HINT.
using FlagHints = std::map<std::string, std::string>;
absl::StatusOr<std::vector<std::string>> ParseFlags(int argc, char** argv,
                                                    const FlagHints& foreign = {});

// An error for a program that takes flags only, if ParseFlags returned anything.
absl::Status WantNoArguments(const std::vector<std::string>& rest);

using FlagValues = std::vector<std::pair<std::string, std::string>>;  // names and values

// The flag file that sets them: a line each, whatever characters a value has.
std::string FlagFile(const FlagValues& flags);

}  // namespace lockstep
