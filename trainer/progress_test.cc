#include "trainer/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"

namespace lockstep {
namespace {

StepRecord Step(int64_t step) {
  StepRecord r;
  r.step = step;
  r.loss = 2.5;
  r.step_time_s = 1;
  r.tokens_per_second = 12345;
  return r;
}

TEST(ProgressTest, PlainLinesEveryLoggingStepsAndAtTheEnd) {
  const std::string path = ::testing::TempDir() + "/progress";
  std::FILE* out = std::fopen(path.c_str(), "w");
  {
    Progress progress(out, 5, 2);
    for (int step = 1; step <= 5; ++step) progress.Step(Step(step));
    progress.Eval({5, 1.0, 9});
  }
  std::fclose(out);
  const std::string text = *ReadFile(path);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4) << text;
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_THAT(text, ::testing::HasSubstr("step 2/5"));
  EXPECT_THAT(text, ::testing::HasSubstr("loss 2.5000"));
  EXPECT_THAT(text, ::testing::HasSubstr("12.3k tokens/s  ETA 0:03"));
  EXPECT_THAT(text, ::testing::HasSubstr("step 5/5"));
  EXPECT_THAT(text, ::testing::HasSubstr("eval after step 5: loss 1.0000"));
}

}  // namespace
}  // namespace lockstep
