#include "tools/step_bench/step.h"

#include <cmath>

#include "gtest/gtest.h"
#include "tensor/runtime.h"
#include "tools/step_bench/shapes.h"

namespace lockstep {
namespace {

TEST(BenchStep, TrainsAndRepeats) {
  const auto runtime = *Runtime::Open(Device{DeviceType::kCPU});
  nn::ModelOptions options;
  options.lora = nn::LoraConfig{};
  options.num_slots = 1;
  const auto model = RandomModel(runtime->context(), "tiny", options);
  ASSERT_TRUE(model.ok()) << model.status();
  BenchStep step(runtime->context(), model->get(), 2, 24, nn::Checkpointing::kNone);
  EXPECT_EQ(step.tokens(), 48);
  step.Run();
  const double first = step.Loss();
  EXPECT_NEAR(first, std::log(320.0), 0.5);  // random weights know nothing
  EXPECT_EQ(step.HashOfGradient(), step.HashOfGradient());
  for (int i = 0; i < 20; ++i) step.Run();
  EXPECT_LT(step.Loss(), first);
}

TEST(RandomModel, NamesTheShapesThereAre) {
  const auto runtime = *Runtime::Open(Device{DeviceType::kCPU});
  EXPECT_FALSE(RandomModel(runtime->context(), "7b", {}).ok());
}

}  // namespace
}  // namespace lockstep
