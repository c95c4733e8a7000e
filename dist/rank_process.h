// One rank as its parent sees it: a child process, what it says, how it ended.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "dist/ending.h"
#include "dist/launch_env.h"
#include "dist/socket.h"

namespace lockstep::dist {

class RankProcess {
 public:
  // Executes this program anew with `argv` and `environment` plus the variables of `rank`. The
  // child ignores SIGHUP, SIGINT and SIGTERM and is killed when this thread's process ends. With
  // `own_terminal` it has this process's streams; else its output comes here and its input is
  // empty. A UserError where the system allows no more processes or open files.
  static absl::StatusOr<std::unique_ptr<RankProcess>> Start(const LaunchEnv& rank,
                                                            Environment environment,
                                                            const std::vector<std::string>& argv,
                                                            bool own_terminal);
  ~RankProcess();  // kills what still runs
  RankProcess(const RankProcess&) = delete;
  RankProcess& operator=(const RankProcess&) = delete;

  int rank() const { return rank_; }
  pid_t pid() const { return pid_; }

  // Where its output can be read, -1 when there is none (any more).
  int output() const { return output_.get(); }
  // Takes what there is of its output.
  void ReadOutput();
  // From now on, and with what was said before, the output goes to this file too.
  void LogTo(const std::string& path);
  // The last lines that it said, at most `max_lines`.
  std::vector<std::string> LastLines(size_t max_lines) const;

  // Nothing while it runs. Does not wait.
  const std::optional<Ending>& Poll();
  const std::optional<Ending>& ending() const { return ending_; }
  void Kill();

 private:
  RankProcess(int rank, pid_t pid, Fd output)
      : rank_(rank), pid_(pid), output_(std::move(output)) {}

  const int rank_;
  const pid_t pid_;
  Fd output_;
  Fd log_;
  std::string said_;  // the last 64 KiB
  std::optional<Ending> ending_;
};

}  // namespace lockstep::dist
