#include "dist/stop_signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/check.h"

namespace lockstep::dist {
namespace {

std::atomic<bool> keeps{false};
std::atomic<int> kept{0};

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM}) sigaddset(&signals, number);
  return signals;
}

void WaitForSignals() {
  const sigset_t signals = StopSignals();
  while (true) {
    int number = 0;
    CHECK_EQ(sigwait(&signals, &number), 0) << "sigwait";
    if (!keeps) {
      pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
      raise(number);
    } else if (kept.exchange(number) != 0) {
      _exit(128 + number);
    }
  }
}

}  // namespace

void BlockStopSignals() {
  static std::atomic<bool> done{false};
  if (done.exchange(true)) return;
  const sigset_t signals = StopSignals();
  CHECK_EQ(pthread_sigmask(SIG_BLOCK, &signals, nullptr), 0) << "pthread_sigmask";
  std::thread(WaitForSignals).detach();
}

void KeepStopSignals() { keeps = true; }

int KeptStopSignal() { return kept; }

}  // namespace lockstep::dist
