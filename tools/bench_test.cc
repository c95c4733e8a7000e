#include "base/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/testing.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

TEST(BenchTest, MeasuresAStep) {
  const std::string model = FreshFolder("model");
  WriteTinyModel(model);
  const ToolResult result = RunTool("bench", {"--model=" + model, "--packs=4x16", "--steps=2",
                                              "--warmup=0", "--ceiling=1", "--device=cpu"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  for (const char* part : {"tokens/s", "ms a step", "peak", "TFLOP/s", "equal bits",
                           "in turns with the step", "gate_up_dx"}) {
    EXPECT_THAT(result.out, HasSubstr(part));
  }
}

TEST(BenchTest, MeasuresScaling) {
  const std::string model = FreshFolder("model");
  WriteTinyModel(model);
  for (const char* full : {"--nofull", "--full"}) {
    const ToolResult result =
        RunTool("bench", {"scaling", "--model=" + model, "--packs=4x16", "--steps=2", "--rounds=2",
                          "--device=cpu", "--nproc_per_node=2", "--bucket_cap_mb=0.01,25", full});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    for (const char* part :
         {"exact     alone", "exact  0.01 MiB", "bf16     25 MiB", "not hidden"}) {
      EXPECT_THAT(result.out, HasSubstr(part));
    }
  }
}

// All of them name the type that they multiply in.
TEST(BenchTest, MeasuresFp8) {
  for (const char* what : {"steps", "scaling", "generate"}) {
    const ToolResult result =
        RunTool("bench", {what, "--shape=tiny", "--packs=2x16", "--steps=1", "--rounds=1",
                          "--device=cpu", "--nproc_per_node=1", "--base_dtype=fp8"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("fp8"));
  }
}

TEST(BenchTest, MeasuresPlans) {
  const ToolResult result = RunTool("bench", {"plan", "--documents=1000"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("1000 documents: planned in"));
}

TEST(BenchTest, MeasuresTokenizers) {
  const ToolResult result = RunTool("bench", {"tokenize", "--rounds=1", "--num_threads=1"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("load from cache"));
  EXPECT_THAT(result.out, HasSubstr("MB/s"));
}

TEST(BenchTest, SaysWhatIsWrong) {
  EXPECT_THAT(RunTool("bench", {"--shape=7b"}).err, HasSubstr("want 8b, 1b, 135m or tiny"));
  EXPECT_THAT(RunTool("bench", {"--packs=3"}).err, HasSubstr("want documents x tokens of each"));
  EXPECT_THAT(RunTool("bench", {"--kernels=no_such_kernel"}).err, HasSubstr("no benchmark"));
  EXPECT_THAT(RunTool("bench", {"--shap=1b"}).err, HasSubstr("did you mean --shape?"));
  EXPECT_THAT(RunTool("bench", {"load"}).err, HasSubstr("[--model] want a value, got nothing"));
  EXPECT_THAT(RunTool("bench", {"all_reduced"}).err, HasSubstr("want steps"));
}

}  // namespace
}  // namespace lockstep
