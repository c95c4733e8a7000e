#include "dist/stop_signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <thread>

namespace lockstep::dist {
namespace {

void Sleep() { std::this_thread::sleep_for(std::chrono::milliseconds(10)); }

// In a process of its own each.
TEST(StopSignalsDeathTest, TheFirstIsKeptAndTheSecondEnds) {
  const auto two_signals = [] {
    BlockStopSignals();
    KeepStopSignals();
    kill(getpid(), SIGINT);
    while (KeptStopSignal() == 0) Sleep();
    if (KeptStopSignal() != SIGINT) _exit(1);
    kill(getpid(), SIGTERM);
    while (true) Sleep();
  };
  EXPECT_EXIT(two_signals(), ::testing::ExitedWithCode(128 + SIGTERM), "");
}

TEST(StopSignalsDeathTest, UntilTheyAreKeptTheyEndTheProcess) {
  const auto too_early = [] {
    BlockStopSignals();
    kill(getpid(), SIGTERM);
    while (true) Sleep();
  };
  EXPECT_EXIT(too_early(), ::testing::KilledBySignal(SIGTERM), "");
}

#ifdef __x86_64__
// As oneDNN's matrix products do.
TEST(StopSignalsDeathTest, TheStacksRegisterMayPointAtData) {
  const auto compute = [] {
    BlockStopSignals();
    KeepStopSignals();
    static volatile unsigned char data[1 << 16];
    std::thread sender([] {
      for (int i = 0; i < 20; ++i) Sleep();
      kill(getpid(), SIGTERM);
      for (int i = 0; i < 20; ++i) Sleep();
      data[0] = 1;
    });
    asm volatile(
        "mov %%rsp, %%rbx\n"
        "lea 65536(%0), %%rsp\n"
        "1: cmpb $0, (%0)\n"
        "je 1b\n"
        "mov %%rbx, %%rsp\n"
        :
        : "r"(data)
        : "rbx", "cc", "memory");
    sender.join();
    int changed = 0;
    for (size_t i = 1; i < sizeof(data); ++i) changed += data[i] != 0;
    _exit(KeptStopSignal() == SIGTERM && changed == 0 ? 0 : 1);
  };
  EXPECT_EXIT(compute(), ::testing::ExitedWithCode(0), "");
}
#endif

}  // namespace
}  // namespace lockstep::dist
