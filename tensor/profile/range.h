// Named stretches of the host's time: NVTX ranges, which NVIDIA's tools show, and, while they are
// being recorded, entries of our own timeline.
//
//   {
//     const Range range("forward 3");
//     …
//   }
//
// One thread makes ranges.
#pragma once

#include <string>
#include <vector>

namespace lockstep::profile {

class Range {
 public:
  explicit Range(std::string name);
  ~Range();
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  std::string name_;
  double start_us_ = 0;
};

struct HostRange {
  std::string name;
  double start_us = 0, end_us = 0;  // on the clock of NowUs
};

// Recording wants StartWatching (activity.h) to have been called.
void StartRecordingRanges();
std::vector<HostRange> StopRecordingRanges();  // in the order of their ends

}  // namespace lockstep::profile
