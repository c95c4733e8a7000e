// What the main() of every program shares: how the process begins, and how an error leaves it.
//
//   int main(int argc, char** argv) {
//     return lockstep::ToolMain(argc, argv, "What the tool does.\n  tokenize --model=DIR", Run);
//   }
#pragma once

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lockstep {

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

// One line for each of Versions() and the GPUs, on standard output.
void PrintVersions();

// Prints "error: …" on standard error, with a HINT where the status has none.
void PrintError(const absl::Status& status);

}  // namespace lockstep
