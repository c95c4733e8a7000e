#include "dist/rank_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/status.h"

namespace lockstep::dist {
namespace {

constexpr size_t kKeptBytes = 65536;

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// The child between fork and exec: only async-signal-safe calls, as other threads existed.
[[noreturn]] void ExecuteAnew(pid_t parent, int output, char* const* argv, char* const* envp) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // it died before the line above
  struct sigaction action = {};
  action.sa_handler = SIG_IGN;
  sigaction(SIGHUP, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = SIG_DFL;
  sigaction(SIGCHLD, &action, nullptr);
  sigaction(SIGPIPE, &action, nullptr);
  if (output >= 0) {
    const int nothing = open("/dev/null", O_RDONLY);
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
        dup2(output, STDERR_FILENO) < 0) {
      _exit(127);
    }
  }
  execve("/proc/self/exe", argv, envp);
  _exit(127);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RankProcess>> RankProcess::Start(
    const LaunchEnv& rank, Environment environment, const std::vector<std::string>& argv,
    bool own_terminal) {
  for (auto& [name, value] : VariablesFor(rank)) environment[name] = value;
  std::vector<std::string> variables;
  for (const auto& [name, value] : environment) variables.push_back(absl::StrCat(name, "=", value));
  std::vector<std::string> arguments = argv;
  const std::vector<char*> argument_pointers = Pointers(arguments);
  const std::vector<char*> variable_pointers = Pointers(variables);

  const std::string where = absl::StrCat("rank ", rank.rank);
  Fd output, child_end;
  if (!own_terminal) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
      return SystemError(where, "cannot make a pipe", errno,
                         "raise the limit on files (ulimit -n)");
    }
    output = Fd(ends[0]);
    child_end = Fd(ends[1]);
    PCHECK(fcntl(output.get(), F_SETFL, O_NONBLOCK) == 0);
  }
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) {
    return SystemError(where, "cannot start a process", errno,
                       "raise the limit on processes (ulimit -u, or the container's pids)");
  }
  if (pid == 0) {
    ExecuteAnew(parent, child_end.get(), argument_pointers.data(), variable_pointers.data());
  }
  return std::unique_ptr<RankProcess>(new RankProcess(rank.rank, pid, std::move(output)));
}

RankProcess::~RankProcess() {
  if (ending_) return;
  Kill();
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
}

void RankProcess::ReadOutput() {
  char buffer[16384];
  while (output_.valid()) {
    const ssize_t got = read(output_.get(), buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      output_.Close();
      return;
    }
    said_.append(buffer, static_cast<size_t>(got));
    // A log that cannot be written (full disk, removed folder) must not end a run.
    if (log_.valid()) (void)!write(log_.get(), buffer, static_cast<size_t>(got));
    if (said_.size() > 2 * kKeptBytes) said_.erase(0, said_.size() - kKeptBytes);
  }
}

void RankProcess::LogTo(const std::string& path) {
  log_ = Fd(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (log_.valid()) (void)!write(log_.get(), said_.data(), said_.size());
}

std::vector<std::string> RankProcess::LastLines(size_t max_lines) const {
  std::vector<std::string> lines = absl::StrSplit(said_, '\n', absl::SkipEmpty());
  if (lines.size() > max_lines) lines.erase(lines.begin(), lines.end() - max_lines);
  return lines;
}

const std::optional<Ending>& RankProcess::Poll() {
  int status = 0;
  if (!ending_ && waitpid(pid_, &status, WNOHANG) == pid_) {
    ReadOutput();
    ending_ =
        WIFSIGNALED(status) ? Ending{true, WTERMSIG(status)} : Ending{false, WEXITSTATUS(status)};
  }
  return ending_;
}

void RankProcess::Kill() {
  if (!ending_) kill(pid_, SIGKILL);
}

}  // namespace lockstep::dist
