// Streams of a GPU that wait for events, and for how long they did.
#pragma once

#include <cuda_runtime_api.h>

#include <deque>
#include <vector>

namespace lockstep::dist {

// For one thread.
class TimedWaits {
 public:
  TimedWaits() = default;
  ~TimedWaits();  // looks at no error: the device may be the reason for the end
  TimedWaits(const TimedWaits&) = delete;
  TimedWaits& operator=(const TimedWaits&) = delete;

  // What is queued on `stream` from now on comes behind `done`.
  void Wait(cudaStream_t stream, cudaEvent_t done);

  // By the device's clock, from when a stream came to an event to when it was let through: all
  // waits that are over.
  double waited_ms();

 private:
  struct TimedWait {
    cudaEvent_t begin = nullptr, end = nullptr;
  };
  TimedWait Next();
  void CountFinished();

  std::deque<TimedWait> waits_;    // in the order of the calls
  std::vector<TimedWait> spares_;  // to be used again
  double waited_ms_ = 0;
};

}  // namespace lockstep::dist
