#include "nn/optim/lr_schedule.h"

#include "gtest/gtest.h"

namespace lockstep::nn {
namespace {

using Type = LrSchedulerType;

double Rate(Type type, int64_t step) {
  const LrSchedule schedule = {type, /*peak=*/2.0, /*warmup_steps=*/2, /*total_steps=*/6,
                               /*min_lr_rate=*/0.25};
  return schedule.At(step);
}

TEST(LrSchedule, WarmUp) {
  for (const Type type :
       {Type::kLinear, Type::kCosine, Type::kConstantWithWarmup, Type::kCosineWithMinLr}) {
    SCOPED_TRACE(static_cast<int>(type));
    EXPECT_DOUBLE_EQ(Rate(type, 1), 1.0);
    EXPECT_DOUBLE_EQ(Rate(type, 2), 2.0);
    EXPECT_DOUBLE_EQ(Rate(type, 3), 2.0);
  }
  EXPECT_DOUBLE_EQ(Rate(Type::kConstant, 1), 2.0);
}

TEST(LrSchedule, Decay) {
  EXPECT_DOUBLE_EQ(Rate(Type::kLinear, 5), 1.0);
  EXPECT_DOUBLE_EQ(Rate(Type::kLinear, 6), 0.5);
  EXPECT_DOUBLE_EQ(Rate(Type::kCosine, 5), 1.0);
  EXPECT_DOUBLE_EQ(Rate(Type::kCosine, 7), 0.0);
  EXPECT_DOUBLE_EQ(Rate(Type::kCosineWithMinLr, 7), 0.5);
  EXPECT_DOUBLE_EQ(Rate(Type::kConstantWithWarmup, 6), 2.0);
}

TEST(LrSchedule, RatioRoundsUp) {
  EXPECT_EQ(WarmupSteps(0.03, 100), 3);
  EXPECT_EQ(WarmupSteps(0.03, 101), 4);
  EXPECT_EQ(WarmupSteps(0, 7), 0);
}

}  // namespace
}  // namespace lockstep::nn
