// What a GPU did while we watched: every kernel, copy and fill with its time, from CUPTI.
#pragma once

#include <string>
#include <vector>

namespace lockstep {

struct Activity {
  std::string name;  // the kernel's, with its grid: "nvjet_tst_… 132x1"
  double start_us = 0, end_us = 0;
};

// Watching costs the host some time at every launch. A build without CUDA sees nothing.
void StartWatching();
std::vector<Activity> StopWatching();  // in the order of their start; the GPU must be idle

}  // namespace lockstep
