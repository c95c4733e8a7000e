#include "trainer/step/step_times.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dist/immediate_communicator.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

// Two ranks: the other one has every value of this one, plus one.
class TwoRanks final : public dist::ImmediateCommunicator {
 public:
  TwoRanks() : ImmediateCommunicator(0, 2) {}

 private:
  void Do(const Call& call) override {
    const int64_t n = call.input.numel();
    for (int64_t i = 0; i < n; ++i) {
      call.output.as<double>()[i] = call.input.as<double>()[i];
      call.output.as<double>()[n + i] = call.input.as<double>()[i] + 1;
    }
  }
};

TEST(StepTimesTest, ALineForEachStepWithAValueForEachRank) {
  TwoRanks ranks;
  StepTimes times(&ranks);
  EXPECT_EQ(times.Add({1, 100, 10, 2, 512}), "");
  EXPECT_EQ(times.Add({2, 50, 0.5, 0, 300}), "");
  EXPECT_EQ(times.Flush(),
            "{\"step\":1,\"step_ms\":[100.000,101.000],\"own_ms\":[90.000,90.000],"
            "\"exposed_ms\":[10.000,11.000],\"load_ms\":[2.000,3.000],\"tokens\":[512,513]}\n"
            "{\"step\":2,\"step_ms\":[50.000,51.000],\"own_ms\":[49.500,49.500],"
            "\"exposed_ms\":[0.500,1.500],\"load_ms\":[0.000,1.000],\"tokens\":[300,301]}\n");
  EXPECT_EQ(times.Flush(), "");
}

TEST(StepTimesTest, LinesComeByThemselvesInALongRun) {
  TwoRanks ranks;
  StepTimes times(&ranks);
  int64_t step = 0;
  std::string lines;
  while (lines.empty()) lines = times.Add({++step, 1, 0, 0, 0});
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), step);
}

// What all ranks wait for is the sums; what only some wait for is the slowest of them.
TEST(StepTimesTest, TheSummaryTellsSumsFromLateness) {
  TwoRanks ranks;
  StepTimes times(&ranks);
  for (int step = 1; step <= 2; ++step) times.Add({step, 9999, 99, 0, 0});  // warm-up
  EXPECT_EQ(times.Summary(), "");
  for (int step = 3; step <= 6; ++step) times.Add({step, 99.5, 4, 0.5, 0});
  times.Flush();
  EXPECT_THAT(times.Summary(), HasSubstr("of a step of 100.00 ms: sums that nothing hid 4.00 ms "
                                         "(4.00 %), waiting for the step's slowest rank 0.50 ms"));
  EXPECT_THAT(times.Summary(), HasSubstr("own work 95.50 ms (rank 0) to 95.50 ms"));
}

TEST(StepTimesTest, OneRankWaitsForNobody) {
  const auto solo = dist::MakeSoloCommunicator();
  StepTimes times(solo.get());
  for (int step = 1; step <= 5; ++step) times.Add({step, 10, 0, 0, 7});
  EXPECT_THAT(times.Flush(), HasSubstr("\"tokens\":[7]"));
  EXPECT_EQ(times.Summary(), "");
}

}  // namespace
}  // namespace lockstep
