#include "trainer/step/step_profiler.h"

#include "base/file.h"
#include "gtest/gtest.h"
#include "tensor/runtime.h"
#include "tensor/tensor.h"

namespace lockstep {
namespace {

TEST(StepProfiler, ReadsARangeOfSteps) {
  EXPECT_EQ(ParseStepRange("profile_steps", "")->last, 0);
  EXPECT_EQ(ParseStepRange("profile_steps", "3..5")->first, 3);
  EXPECT_EQ(ParseStepRange("profile_steps", "3..5")->last, 5);
  EXPECT_EQ(ParseStepRange("profile_steps", "7")->first, 7);
  EXPECT_EQ(ParseStepRange("profile_steps", "7")->last, 7);
  for (const char* wrong : {"0..2", "5..3", "3..", "..3", "3-5", "a", "1..2..3"}) {
    const auto range = ParseStepRange("profile_steps", wrong);
    ASSERT_FALSE(range.ok()) << wrong;
    EXPECT_NE(std::string(range.status().message()).find("3..5"), std::string::npos);
  }
}

TEST(StepProfiler, WatchesAGpu) {
  if (CudaDeviceCount() == 0) GTEST_SKIP() << "no GPU here";
  const auto runtime = *Runtime::Open(Device{DeviceType::kCUDA, 0});
  const Context& context = runtime->context();
  const std::string folder = JoinPath(testing::TempDir(), "profile");
  StepProfiler profiler({2, 30}, /*num_steps=*/3, folder, /*rank=*/1);
  EXPECT_FALSE(profiler.Begins(1));
  ASSERT_TRUE(profiler.Begins(2));
  ASSERT_TRUE(profiler.Start(context.stream).ok());
  const std::vector<float> values(1000);
  const Tensor tensor = Tensor::Empty(*context.allocator, DType::kF32, {1000});
  CopyToDevice(context.stream, values.data(), tensor.Mutable("test"));
  ASSERT_TRUE(profiler.Ends(3));
  const auto text = profiler.Stop(context.stream, 3);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_NE(text->find("copies, fills"), std::string::npos) << *text;
  EXPECT_NE(ReadFile(JoinPath(folder, "rank-1.trace.json"))->find("copy of 4000 bytes"),
            std::string::npos);
}

}  // namespace
}  // namespace lockstep
