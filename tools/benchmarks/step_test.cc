#include "tools/benchmarks/step.h"

#include <cmath>

#include "gtest/gtest.h"
#include "tensor/runtime.h"
#include "tools/benchmarks/shapes.h"

namespace lockstep {
namespace {

TEST(BenchStep, TrainsAndRepeats) {
  const auto runtime = *Runtime::Open(Device{DeviceType::kCPU});
  const auto model =
      RandomModel(runtime->context(), *ShapeConfig("tiny"), LoraOptions(16, DType::kF32));
  ASSERT_TRUE(model.ok()) << model.status();
  BenchStep step(runtime->context(), model->get(), 2, 24, {});
  EXPECT_EQ(step.tokens(), 48);
  step.Run();
  const double first = step.Loss();
  EXPECT_NEAR(first, std::log(320.0), 0.5);  // random weights know nothing
  EXPECT_EQ(step.HashOfGradient(), step.HashOfGradient());
  for (int i = 0; i < 20; ++i) step.Run();
  EXPECT_LT(step.Loss(), first);
}

TEST(StepFlopsTest, CountsProducts) {
  // One layer: qkv 8·(8 + 2·4) weights, o 8·8, gate and up 2·8·12, down 12·8; head 10·8.
  const auto config = nn::ParseModelConfig(
      R"({"model_type": "llama", "hidden_size": 8, "intermediate_size": 12, "vocab_size": 10,
          "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1})",
      "test");
  ASSERT_TRUE(config.ok()) << config.status();
  const double weights = 8 * 16 + 8 * 8 + 2 * 8 * 12 + 12 * 8, tokens = 2 * 5;
  EXPECT_EQ(StepFlops(*config, 100, 2, 5),
            4 * weights * tokens + 4 * 80 * (tokens - 2) + 6 * 100 * tokens + 7 * 2 * (2 * 15) * 8);
}

TEST(ShapeConfigTest, ShapesAreModels) {
  for (const char* name : {"135m", "1b", "8b", "tiny"}) {
    const auto config = nn::ParseModelConfig(*ShapeConfig(name), name);
    EXPECT_TRUE(config.ok()) << config.status();
  }
  EXPECT_FALSE(ShapeConfig("7b").ok());
}

}  // namespace
}  // namespace lockstep
