#include "trainer/flags/program.h"

#include <fcntl.h>
#include <gflags/gflags.h>
#include <glog/logging.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <new>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "dist/exit_code.h"
#include "trainer/flags/help.h"
#include "trainer/flags/parse_flags.h"
#include "trainer/report/environment.h"

namespace lockstep {
namespace {

bool IsSet(const char* flag) {
  std::string value;
  return gflags::GetCommandLineOption(flag, &value) && value == "true";
}

}  // namespace

void PrintVersions() {
  for (const auto& rows : {Versions(), Gpus()}) {
    for (const auto& [name, version] : rows) {
      std::printf("%-14s %s\n", name.c_str(), version.c_str());
    }
  }
}

void PrintError(const absl::Status& status) {
  std::fflush(stdout);
  const bool has_hint = absl::StrContains(status.message(), "\nHINT: ");
  std::fprintf(stderr, "error: %s%s\n", std::string(status.message()).c_str(),
               has_hint ? "" : "\nHINT: --help says what is wanted");
}

namespace {

std::terminate_handler terminate_before = nullptr;

// std::thread's constructor throws where no thread can be started, and operator new where there is
// no memory; nobody catches it.
void EndUncaught() {
  try {
    if (const std::exception_ptr uncaught = std::current_exception()) {
      std::rethrow_exception(uncaught);
    }
  } catch (const std::system_error& error) {
    if (error.code() == std::errc::resource_unavailable_try_again) {
      PrintError(
          UserError("process", absl::StrCat("cannot start a thread: ", error.code().message()),
                    "raise the limit on processes (ulimit -u, or the container's pids) or on "
                    "memory (ulimit -v)"));
      _exit(dist::kExitUserError);
    }
  } catch (const std::bad_alloc&) {
    PrintError(SystemError("memory", "no more for this process", ENOMEM));
    _exit(dist::kExitFatal);
  } catch (...) {
  }
  terminate_before();
  std::abort();
}

}  // namespace

void StartProcess(const char* argv0) {
  terminate_before = std::set_terminate(&EndUncaught);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) < 0) PCHECK(open("/dev/null", O_RDWR) == fd);  // takes the lowest number
  }
  FLAGS_logtostderr = true;
  google::InitGoogleLogging(argv0);
  google::InstallFailureFunction(+[] { _exit(dist::kExitFatal); });
}

namespace {

absl::Status FlushOutput() {
  std::cout.flush();
  const bool written = std::fflush(stdout) == 0 && !std::ferror(stdout) && std::cout.good();
  return written ? absl::OkStatus() : SystemError("standard output", "cannot write", errno);
}

}  // namespace

int ToolMain(int argc, char** argv, absl::string_view usage,
             absl::FunctionRef<absl::Status(const std::vector<std::string>&)> run) {
  StartProcess(argv[0]);
  const absl::StatusOr<std::vector<std::string>> arguments = ParseFlags(argc, argv);
  if (arguments.ok() && (IsSet("help") || IsSet("helpfull") || IsSet("helpshort"))) {
    std::fputs(ToolHelp(argv[0], usage, HelpWidth()).c_str(), stdout);
    return dist::kExitDone;
  }
  if (arguments.ok() && IsSet("version")) {
    PrintVersions();
    return dist::kExitDone;
  }
  absl::Status status = arguments.ok() ? run(*arguments) : arguments.status();
  if (status.ok()) status = FlushOutput();
  if (status.ok()) return dist::kExitDone;
  PrintError(status);
  return dist::kExitUserError;
}

int ToolMain(int argc, char** argv, absl::string_view usage,
             absl::FunctionRef<absl::Status()> run) {
  return ToolMain(argc, argv, usage, [&](const std::vector<std::string>& arguments) {
    RETURN_IF_ERROR(WantNoArguments(arguments));
    return run();
  });
}

}  // namespace lockstep
