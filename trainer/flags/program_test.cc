#include "trainer/flags/program.h"

#include <fcntl.h>
#include <gflags/gflags.h>
#include <glog/logging.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <system_error>
#include <thread>

DEFINE_string(label, "two\nlines", "a text");

namespace lockstep {
namespace {

int RunTool(std::vector<std::string> arguments, const absl::Status& status) {
  arguments.insert(arguments.begin(), "tool");
  std::vector<char*> argv;
  for (std::string& a : arguments) argv.push_back(a.data());
  return ToolMain(static_cast<int>(argv.size()), argv.data(), "A tool.",
                  [&](const std::vector<std::string>&) { return status; });
}

// Each ends the process, since glog starts once only.
TEST(ToolMainDeathTest, ExitCodes) {
  using ::testing::ExitedWithCode;
  EXPECT_EXIT(exit(RunTool({}, absl::OkStatus())), ExitedWithCode(0), "");
  EXPECT_EXIT(exit(RunTool({}, absl::NotFoundError("what\nHINT: do"))), ExitedWithCode(1),
              "error: what\nHINT: do\n");
  EXPECT_EXIT(exit(RunTool({}, absl::NotFoundError("what"))), ExitedWithCode(1),
              "error: what\nHINT: --help");
  EXPECT_EXIT(exit(RunTool({"--no_such"}, absl::OkStatus())), ExitedWithCode(1), "no_such");
  std::string name = "tool";
  char* argv[] = {name.data()};
  const auto bug = [](const std::vector<std::string>&) -> absl::Status { LOG(FATAL) << "a bug"; };
  EXPECT_EXIT(exit(ToolMain(1, argv, "A tool.", bug)), ExitedWithCode(2), "a bug");
  EXPECT_EXIT(
      {
        dup2(STDERR_FILENO, STDOUT_FILENO);
        exit(RunTool({"--help"}, absl::OkStatus()));
      },
      ExitedWithCode(0),
      "A tool.\n\nFlags:\n  --label=two\\\\nlines\n      a text\n(.|\n)*  --help, --version");
  EXPECT_EXIT(exit(RunTool({"--version"}, absl::NotFoundError("run"))), ExitedWithCode(0), "");
}

TEST(StartProcessDeathTest, AThreadThatCannotBeStartedIsAnErrorOfTheEnvironment) {
  const auto no_more_threads = [] {
    StartProcess("test");
    std::thread([] {  // where nobody catches it
      throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
    })
        .join();
  };
  EXPECT_EXIT(no_more_threads(), ::testing::ExitedWithCode(1),
              "cannot start a thread.*\nHINT: .*ulimit -v");
}

TEST(StartProcessDeathTest, WithoutMemoryItEndsInOneParagraph) {
  const auto no_more_memory = [] {
    StartProcess("test");
    std::thread([] { throw std::bad_alloc(); }).join();
  };
  EXPECT_EXIT(no_more_memory(), ::testing::ExitedWithCode(2),
              "^error: \\[memory\\] .*\nHINT: .*ulimit -v[^\n]*\n$");
}

TEST(ToolMainDeathTest, WhatStandardOutputDoesNotTakeIsAnError) {
  const auto run = [](std::ostream* stream) {
    std::string name = "tool";
    char* argv[] = {name.data()};
    return ToolMain(1, argv, "A tool.", [&](const std::vector<std::string>&) {
      if (stream != nullptr) *stream << "words" << std::flush;
      if (stream == nullptr) std::printf("words");
      return absl::OkStatus();
    });
  };
  for (std::ostream* stream : {static_cast<std::ostream*>(nullptr), &std::cout}) {
    EXPECT_EXIT(
        {
          dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO);
          exit(run(stream));
        },
        testing::ExitedWithCode(1), "standard output.* cannot write");
    EXPECT_EXIT(
        {
          close(STDOUT_FILENO);
          exit(run(stream));
        },
        testing::ExitedWithCode(0), "");
  }
}

}  // namespace
}  // namespace lockstep
