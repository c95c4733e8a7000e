// For tests with real processes: the test's own binary, started again as the program that
// fault_test_rank.h describes. This library brings main().
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <string>

#include "dist/fault_test_rank.h"
#include "dist/launch_env.h"

namespace lockstep::dist {

// A process with its output in a file; killed if it still runs when this ends.
class Program {
 public:
  explicit Program(Arguments arguments, const Environment& variables = {});
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  int Wait();  // the exit code, or -signal
  std::string Output() const;

 private:
  std::string output_;
  pid_t pid_ = -1;
  bool ended_ = false;
  int code_ = 0;
};

class FaultTest : public ::testing::Test {
 protected:
  FaultTest();
  ~FaultTest() override;

  // What to run; `rank` -1 is all.
  Arguments Run(int nproc, const std::string& fault, int rank) const;

  const std::string& out() const { return out_; }
  std::string File(const std::string& name) const;  // "" where there is none
  void RemoveFile(const std::string& name) const;
  void WaitForFile(const std::string& name) const;
  void WaitForOutput(const Program& program, const std::string& words) const;

  // No rank may be left behind; one that only waits to be collected has ended.
  void ExpectNoRanks(int nproc) const;

  static size_t Count(const std::string& text, const std::string& what);

 private:
  std::string out_;
};

}  // namespace lockstep::dist
