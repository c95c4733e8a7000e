// What the main() of every program shares: flags, paths, and how an error leaves the process.
//
//   int main(int argc, char** argv) {
//     return lockstep::ToolMain(argc, argv, "What the tool does.\n  tokenize --model=DIR", Run);
//   }
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

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

using FlagValues = std::vector<std::pair<std::string, std::string>>;  // names and values

// The flag file that sets them: a line each, whatever characters a value has.
std::string FlagFile(const FlagValues& flags);

// One line for each of Versions() and the GPUs, on standard output.
void PrintVersions();

// Prints "error: …" on standard error, with a HINT where the status has none.
void PrintError(const absl::Status& status);

// An error for a program that takes flags only, if ParseFlags returned anything.
absl::Status WantNoArguments(const std::vector<std::string>& rest);

// What a process does first: 0, 1 and 2 are open (a file that is opened later must not become the
// standard output that a caller has closed), messages go to standard error, a failed CHECK ends the
// process with kExitFatal (dist/exit_code.h), a thread that cannot be started with kExitUserError.
void StartProcess(const char* argv0);

// Parses the flags, answers --help (usage and the flags that the tool's own sources define) and
// --version (environment.h), and calls run(), or run(arguments) for a tool that takes some. Returns
// the exit code (dist/exit_code.h): done, or the user's error with the status printed on standard
// error as one paragraph, also where standard output could not take all of what was written.
int ToolMain(int argc, char** argv, absl::string_view usage, absl::FunctionRef<absl::Status()> run);
int ToolMain(int argc, char** argv, absl::string_view usage,
             absl::FunctionRef<absl::Status(const std::vector<std::string>& arguments)> run);

// A path as the user means it: relative ones start at $BUILD_WORKING_DIRECTORY where `bazel run`
// has set it, since the process itself starts elsewhere; "~/" is the home folder, since a shell
// leaves it in --flag=~/file as it is. "-" stays as it is.
std::string UserPath(absl::string_view path);

}  // namespace lockstep
