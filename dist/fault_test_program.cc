#include "dist/fault_test_program.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"

namespace lockstep::dist {
namespace {

using namespace std::chrono_literals;  // NOLINT

constexpr auto kPatience = 100s;  // nothing here may take longer

template <typename Condition>
bool WaitUntil(const Condition& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

// Whoever collects orphans may be late, or (a container's first process) never do it.
bool Lives(pid_t pid) {
  const std::string stat = ReadFile(absl::StrCat("/proc/", pid, "/stat")).value_or("");
  const size_t name_end = stat.rfind(") ");  // pid (name) state …
  return name_end != std::string::npos && stat[name_end + 2] != 'Z' && stat[name_end + 2] != 'X';
}

}  // namespace

Program::Program(Arguments arguments, const Environment& variables) {
  static int count = 0;
  output_ = absl::StrCat(arguments["out"], "/output-", count++);
  std::vector<std::string> argv = {"fault_test", "--run"};
  for (const auto& [key, value] : arguments) argv.push_back(absl::StrCat(key, "=", value));
  Environment environment = ReadEnvironment();
  for (const auto& [name, value] : variables) environment[name] = value;
  std::vector<std::string> envp;
  for (const auto& [name, value] : environment) envp.push_back(absl::StrCat(name, "=", value));
  std::vector<char*> argv_pointers, envp_pointers;
  for (std::string& text : argv) argv_pointers.push_back(text.data());
  for (std::string& text : envp) envp_pointers.push_back(text.data());
  argv_pointers.push_back(nullptr);
  envp_pointers.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, output_.c_str(), O_WRONLY | O_CREAT, 0666);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  EXPECT_EQ(posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, argv_pointers.data(),
                        envp_pointers.data()),
            0);
  posix_spawn_file_actions_destroy(&actions);
}

Program::~Program() {
  if (!ended_) kill(pid_, SIGKILL);
  Wait();
}

int Program::Wait() {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  int status = 0;
  while (!ended_ && waitpid(pid_, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > deadline) {
      ADD_FAILURE() << "the program did not end; it said:\n" << Output();
      kill(pid_, SIGKILL);
    }
    std::this_thread::sleep_for(10ms);
  }
  if (!ended_) code_ = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  ended_ = true;
  return code_;
}

std::string Program::Output() const { return ReadFile(output_).value_or(""); }

FaultTest::FaultTest() {
  const char* folder = std::getenv("TEST_TMPDIR");
  std::string name = absl::StrCat(folder != nullptr ? folder : "/tmp", "/XXXXXX");
  out_ = mkdtemp(name.data());
}

FaultTest::~FaultTest() { std::filesystem::remove_all(out_); }

Arguments FaultTest::Run(int nproc, const std::string& fault, int rank) const {
  return {{"nproc", absl::StrCat(nproc)},
          {"fault", fault},
          {"rank", absl::StrCat(rank)},
          {"out", out_}};
}

std::string FaultTest::File(const std::string& name) const {
  return ReadFile(JoinPath(out_, name)).value_or("");
}

void FaultTest::RemoveFile(const std::string& name) const { unlink(JoinPath(out_, name).c_str()); }

void FaultTest::WaitForFile(const std::string& name) const {
  EXPECT_TRUE(WaitUntil([&] { return FileExists(JoinPath(out_, name)); })) << name;
}

void FaultTest::WaitForOutput(const Program& program, const std::string& words) const {
  EXPECT_TRUE(WaitUntil([&] { return absl::StrContains(program.Output(), words); })) << words;
}

void FaultTest::ExpectNoRanks(int nproc) const {
  for (int rank = 0; rank < nproc; ++rank) {
    int pid = 0;
    if (!absl::SimpleAtoi(File(absl::StrCat("pid-", rank)), &pid)) continue;
    EXPECT_TRUE(WaitUntil([pid] { return !Lives(pid); })) << "rank " << rank << " still runs";
  }
}

size_t FaultTest::Count(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

}  // namespace lockstep::dist

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "--run") {
    lockstep::dist::Arguments arguments;
    for (int i = 2; i < argc; ++i) {
      const std::pair<std::string, std::string> entry =
          absl::StrSplit(argv[i], absl::MaxSplits('=', 1));
      arguments[entry.first] = entry.second;
    }
    return lockstep::dist::RunProgram(arguments, argc, argv);
  }
  ::testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
