// Where the time goes from the start of the command to the end of its first step.
//
//   StartupTimes times(env.has_parent);
//   …; times.Done("GPU");  …; times.Done("weights");  …
//   log.Say(times.Line());
//   // step 1 ended 4.71 s after the start (parent 0.60, process 0.05, GPU 0.31, weights 1.20, …)
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace lockstep {

class StartupTimes {
 public:
  // First thing that a parent does: its ranks inherit the time. (Its own process may be older than
  // the command: `bazel run` builds, then becomes the program.)
  static void MarkParentStart();

  // The command began with this process or, with `has_parent`, where the parent has marked it.
  explicit StartupTimes(bool has_parent);

  // `phase` is what was done since the last call.
  void Done(const std::string& phase);

  std::string Line() const;

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_;
  std::vector<std::pair<std::string, double>> phases_;  // seconds
};

}  // namespace lockstep
