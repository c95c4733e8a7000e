#include "trainer/report/startup_times.h"

#include <thread>

#include "gtest/gtest.h"

namespace lockstep {
namespace {

TEST(StartupTimes, PhasesAddUpToTheTimeSinceTheProcessBegan) {
  StartupTimes times(/*has_parent=*/false);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  times.Done("sleep");
  const std::string line = times.Line();
  double total = 0, process = 0, sleep = 0;
  ASSERT_EQ(std::sscanf(line.c_str(),
                        "the first step ended %lf s after the start (process %lf, sleep %lf)",
                        &total, &process, &sleep),
            3)
      << line;
  EXPECT_NEAR(total, process + sleep, 0.02);
  EXPECT_GE(sleep, 0.02);
}

// Not with its process, which may have built the program first and then become it.
TEST(StartupTimes, AParentBeganWhereItSaysSo) {
  StartupTimes::MarkParentStart();
  const std::string line = StartupTimes(/*has_parent=*/true).Line();
  double total = 0, parent = 0;
  ASSERT_EQ(std::sscanf(line.c_str(), "the first step ended %lf s after the start (parent %lf,",
                        &total, &parent),
            2)
      << line;
  EXPECT_LE(parent, 0.02);  // marked after this process began
}

}  // namespace
}  // namespace lockstep
