#include "nn/optim/lr_schedule.h"

#include "gtest/gtest.h"

namespace lockstep::nn {
namespace {

LrSchedule Make(const char* name) {
  return {ParseLrSchedulerType(name).value(), 2.0, /*warmup_steps=*/2, /*total_steps=*/6, 0.25};
}

TEST(LrSchedule, WarmUp) {
  for (const char* name : {"linear", "cosine", "constant_with_warmup", "cosine_with_min_lr"}) {
    EXPECT_DOUBLE_EQ(Make(name).At(1), 1.0) << name;
    EXPECT_DOUBLE_EQ(Make(name).At(2), 2.0) << name;
    EXPECT_DOUBLE_EQ(Make(name).At(3), 2.0) << name;
  }
  EXPECT_DOUBLE_EQ(Make("constant").At(1), 2.0);
}

TEST(LrSchedule, Decay) {
  EXPECT_DOUBLE_EQ(Make("linear").At(5), 1.0);
  EXPECT_DOUBLE_EQ(Make("linear").At(6), 0.5);
  EXPECT_DOUBLE_EQ(Make("cosine").At(5), 1.0);
  EXPECT_DOUBLE_EQ(Make("cosine").At(7), 0.0);
  EXPECT_DOUBLE_EQ(Make("cosine_with_min_lr").At(7), 0.5);
  EXPECT_DOUBLE_EQ(Make("constant_with_warmup").At(6), 2.0);
}

TEST(LrSchedule, RatioRoundsUp) {
  EXPECT_EQ(WarmupSteps(0.03, 100), 3);
  EXPECT_EQ(WarmupSteps(0.03, 101), 4);
  EXPECT_EQ(WarmupSteps(0, 7), 0);
}

TEST(LrSchedule, UnknownName) { EXPECT_FALSE(ParseLrSchedulerType("polynomial").ok()); }

}  // namespace
}  // namespace lockstep::nn
