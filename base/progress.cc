#include "base/progress.h"

#include <atomic>
#include <chrono>

namespace lockstep {
namespace {

std::atomic<int64_t> marks{0};
std::atomic<int> waits{0};
std::atomic<double> waits_end{0};  // in seconds of the steady clock

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void MarkProgress() { marks.fetch_add(1, std::memory_order_relaxed); }

WaitAsProgress::WaitAsProgress(double most_seconds) {
  waits_end = Now() + most_seconds;
  ++waits;
}

WaitAsProgress::~WaitAsProgress() {
  --waits;
  MarkProgress();
}

int64_t ProgressMarks() {
  if (waits > 0 && Now() < waits_end) MarkProgress();
  return marks.load(std::memory_order_relaxed);
}

}  // namespace lockstep
