// The trainer as its users start it: a process with flags, an exit code, and what it says.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

namespace lockstep {

struct Outcome {
  int exit_code = -1;  // -signal if it was killed by one
  std::string out, err;
};

// Where the trainer is: beside the test's data, or in the bin/ of a bundle (tools/gpu_bundle).
std::string TrainerProgram();

// What torchrun says to rank `rank` of `size`, all on this host.
std::map<std::string, std::string> TorchrunVariables(int rank, int size, int port);

class TrainerProcess {
 public:
  // `input`: the file that is its standard input. `variables` are added to its environment.
  explicit TrainerProcess(const std::vector<std::string>& flags,
                          const std::string& input = "/dev/null",
                          const std::map<std::string, std::string>& variables = {},
                          const std::string& program = TrainerProgram());
  ~TrainerProcess();  // kills the process and its ranks if they still run
  TrainerProcess(const TrainerProcess&) = delete;
  TrainerProcess& operator=(const TrainerProcess&) = delete;

  pid_t pid() const { return pid_; }
  // To the parent alone; to it and all its ranks.
  void Signal(int signal);
  void SignalAll(int signal);

  // The end of the process; it is killed after `timeout_s`.
  Outcome Wait(double timeout_s = 120);

 private:
  pid_t pid_ = -1;
  std::string out_path_, err_path_;
};

Outcome Train(const std::vector<std::string>& flags, const std::string& input = "/dev/null");

// A fresh folder's path below the test's own, not made yet.
std::string FreshPath(const std::string& name);

// The first of 16 ports that no other test is likely to use: where ranks of a launcher meet.
int FreshPort();

// True once `path` exists, or once `words` are in it; waits for it.
bool WaitForFile(const std::string& path, double timeout_s);
bool WaitForWords(const std::string& path, const std::string& words, double timeout_s);

}  // namespace lockstep
