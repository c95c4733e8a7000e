// What a GPU did while we watched: every kernel, copy and fill with its time, from CUPTI.
//
//   RETURN_IF_ERROR(StartWatching());
//   …                                   // the GPU is idle before and after
//   const std::vector<Activity> activities = StopWatching();
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace lockstep::profile {

struct Activity {
  std::string name;                 // the kernel's, with its grid: "nvjet_tst_… 132x1"
  double start_us = 0, end_us = 0;  // on the clock of NowUs
  int stream = 0;                   // equal numbers, equal streams
};

// Watching costs the host some time at every launch. Errors: CUPTI, which comes with the CUDA
// toolkit, is not there; a build without CUDA.
absl::Status StartWatching();
std::vector<Activity> StopWatching();  // in the order of their start

// Microseconds on the clock of activities, since some moment before the process began.
double NowUs();

}  // namespace lockstep::profile
