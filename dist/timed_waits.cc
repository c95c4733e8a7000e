#include "dist/timed_waits.h"

#include "tensor/cuda_check.h"

namespace lockstep::dist {

TimedWaits::~TimedWaits() {
  waits_.insert(waits_.end(), spares_.begin(), spares_.end());
  for (const TimedWait& wait : waits_) {
    cudaEventDestroy(wait.begin);
    cudaEventDestroy(wait.end);
  }
}

void TimedWaits::Wait(cudaStream_t stream, cudaEvent_t done) {
  const TimedWait wait = Next();
  CUDA_CHECK(cudaEventRecord(wait.begin, stream));
  CUDA_CHECK(cudaStreamWaitEvent(stream, done));
  CUDA_CHECK(cudaEventRecord(wait.end, stream));
  waits_.push_back(wait);
}

double TimedWaits::waited_ms() {
  CountFinished();
  return waited_ms_;
}

TimedWaits::TimedWait TimedWaits::Next() {
  CountFinished();
  if (!spares_.empty()) {
    const TimedWait wait = spares_.back();
    spares_.pop_back();
    return wait;
  }
  TimedWait wait;
  CUDA_CHECK(cudaEventCreate(&wait.begin));
  CUDA_CHECK(cudaEventCreate(&wait.end));
  return wait;
}

void TimedWaits::CountFinished() {
  while (!waits_.empty()) {
    const TimedWait& wait = waits_.front();
    float ms = 0;
    if (cudaEventElapsedTime(&ms, wait.begin, wait.end) != cudaSuccess) {
      cudaGetLastError();  // not there yet, or a device that is lost: the communicator says so
      return;
    }
    waited_ms_ += ms;
    spares_.push_back(wait);
    waits_.pop_front();
  }
}

}  // namespace lockstep::dist
