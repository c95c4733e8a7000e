#include "tests/trainer_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/file.h"

namespace lockstep {
namespace {

std::string ContentOf(const std::string& path) {
  const auto content = ReadFile(path);
  return content.ok() ? *content : "";
}

template <typename Condition>
bool WaitUntil(const Condition& condition, double timeout_s) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(timeout_s);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace

std::string FreshPath(const std::string& name) {
  static int count = 0;
  const char* root = std::getenv("TEST_TMPDIR");
  return absl::StrCat(root != nullptr ? root : "/tmp", "/", name, "-", getpid(), "-", ++count);
}

int FreshPort() {
  static int port = 20000 + getpid() % 10000;
  return port += 16;
}

std::string TrainerProgram() {
  const std::string here = "trainer/train", bundled = "../bin/train";
  return FileExists(here) ? here : bundled;
}

std::map<std::string, std::string> TorchrunVariables(int rank, int size, int port) {
  return {{"RANK", absl::StrCat(rank)},       {"LOCAL_RANK", absl::StrCat(rank)},
          {"WORLD_SIZE", absl::StrCat(size)}, {"LOCAL_WORLD_SIZE", absl::StrCat(size)},
          {"MASTER_ADDR", "127.0.0.1"},       {"MASTER_PORT", absl::StrCat(port)},
          {"TORCHELASTIC_RUN_ID", "test"}};
}

TrainerProcess::TrainerProcess(const std::vector<std::string>& flags, const std::string& input,
                               const std::map<std::string, std::string>& variables,
                               const std::string& program)
    : out_path_(FreshPath("stdout")), err_path_(FreshPath("stderr")) {
  std::vector<std::string> words = {program};
  words.insert(words.end(), flags.begin(), flags.end());
  // One cache for the whole test.
  words.push_back(absl::StrCat("--cache_dir=", std::getenv("TEST_TMPDIR"), "/cache"));
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_ = fork();
  PCHECK(pid_ >= 0);
  if (pid_ == 0) {
    setpgid(0, 0);
    dup2(open(input.c_str(), O_RDONLY), STDIN_FILENO);
    dup2(open(out_path_.c_str(), O_WRONLY | O_CREAT, 0644), STDOUT_FILENO);
    dup2(open(err_path_.c_str(), O_WRONLY | O_CREAT, 0644), STDERR_FILENO);
    for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
    execv(program.c_str(), argv.data());
    _exit(127);
  }
  setpgid(pid_, pid_);
}

TrainerProcess::~TrainerProcess() {
  if (pid_ < 0) return;
  SignalAll(SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void TrainerProcess::Signal(int signal) { kill(pid_, signal); }
void TrainerProcess::SignalAll(int signal) { kill(-pid_, signal); }

Outcome TrainerProcess::Wait(double timeout_s) {
  int status = 0;
  if (!WaitUntil([&] { return waitpid(pid_, &status, WNOHANG) == pid_; }, timeout_s)) {
    SignalAll(SIGKILL);
    PCHECK(waitpid(pid_, &status, 0) == pid_);
  }
  pid_ = -1;
  const int exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return {exit_code, ContentOf(out_path_), ContentOf(err_path_)};
}

Outcome Train(const std::vector<std::string>& flags, const std::string& input) {
  return TrainerProcess(flags, input).Wait();
}

bool WaitForFile(const std::string& path, double timeout_s) {
  return WaitUntil([&] { return FileExists(path); }, timeout_s);
}

bool WaitForWords(const std::string& path, const std::string& words, double timeout_s) {
  const auto there = [&] { return ContentOf(path).find(words) != std::string::npos; };
  return WaitUntil(there, timeout_s);
}

}  // namespace lockstep
