#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/bench_shapes.h"
#include "tools/testing.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

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
  for (const char* name : {"135m", "1b", "8b"}) {
    const auto config = nn::ParseModelConfig(*ShapeConfig(name), name);
    EXPECT_TRUE(config.ok()) << config.status();
  }
  EXPECT_FALSE(ShapeConfig("7b").ok());
}

TEST(BenchTest, MeasuresAStep) {
  const std::string model = MakeTestFolder("model");
  WriteTinyModel(model);
  const ToolResult result = RunTool(
      "bench", {"--model=" + model, "--tokens=64", "--documents=4", "--steps=2", "--device=cpu"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("ms per step"));
  EXPECT_THAT(result.out, HasSubstr("tokens/s"));
  EXPECT_THAT(result.out, HasSubstr("peak host memory"));
}

TEST(BenchTest, SaysWhatIsWrong) {
  EXPECT_THAT(RunTool("bench", {"--shape=7b"}).err, HasSubstr("want one of 135m, 1b, 8b"));
  EXPECT_THAT(RunTool("bench", {"--documents=3"}).err, HasSubstr("divisor of --tokens"));
  EXPECT_THAT(RunTool("bench", {"--kernels=no_such_kernel"}).err, HasSubstr("no benchmark"));
  EXPECT_THAT(RunTool("bench", {"--shap=1b"}).err, HasSubstr("did you mean --shape?"));
}

}  // namespace
}  // namespace lockstep
