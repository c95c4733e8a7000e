#include "trainer/loss_watch.h"

#include <gtest/gtest.h>

#include <random>

namespace lockstep {
namespace {

using Kind = LossWatch::Kind;

TEST(LossWatchTest, NoiseIsNoSpike) {
  std::mt19937 random(3);
  std::normal_distribution<double> noise(0, 0.3);
  LossWatch watch;
  for (int step = 0; step < 2000; ++step) {
    const double falling = 1 + 3 * std::exp(-step / 200.0);
    EXPECT_FALSE(watch.Add(falling + noise(random) * 0.5, 1)) << step;
  }
}

TEST(LossWatchTest, ASpikeIsToldOnceUntilItIsOver) {
  LossWatch watch;
  for (int step = 0; step < 30; ++step) EXPECT_FALSE(watch.Add(2 + 0.01 * (step % 5), 1));
  const auto first = watch.Add(3.5, 1);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->kind, Kind::kSpike);
  EXPECT_NEAR(first->usual, 2.02, 1e-12);
  EXPECT_FALSE(watch.Add(4, 1));
  EXPECT_FALSE(watch.Add(2, 1));
  EXPECT_TRUE(watch.Add(3.5, 1));
}

TEST(LossWatchTest, NothingIsSaidOfTheFirstSteps) {
  LossWatch watch;
  for (int step = 0; step < 15; ++step) EXPECT_FALSE(watch.Add(1, 1));
  EXPECT_FALSE(watch.Add(100, 1));
}

TEST(LossWatchTest, ASmallLossMayDouble) {
  LossWatch watch;
  for (int step = 0; step < 30; ++step) EXPECT_FALSE(watch.Add(0.01, 1));
  EXPECT_FALSE(watch.Add(0.2, 1));
  EXPECT_TRUE(watch.Add(0.3, 1));
}

TEST(LossWatchTest, AnEvenLossMayGrowByHalf) {
  LossWatch watch;
  for (int step = 0; step < 30; ++step) EXPECT_FALSE(watch.Add(4, 1));
  EXPECT_FALSE(watch.Add(5.9, 1));
  EXPECT_TRUE(watch.Add(6.1, 1));
}

TEST(LossWatchTest, ZeroIsToldFromTheFirstStep) {
  LossWatch watch;
  const auto first = watch.Add(0, 0);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->kind, Kind::kZero);
  EXPECT_FALSE(watch.Add(0, 1));
  EXPECT_FALSE(watch.Add(1, 1));
  EXPECT_TRUE(watch.Add(1, 0)) << "a gradient of 0 as well";
}

}  // namespace
}  // namespace lockstep
