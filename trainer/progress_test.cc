#include "trainer/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

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

// On a terminal a line renews itself, and what is said stands below the last one.
TEST(ProgressTest, ATerminalKeepsTheLastLine) {
  int terminal = -1, other_end = -1;
  ASSERT_EQ(openpty(&other_end, &terminal, nullptr, nullptr, nullptr), 0);
  std::FILE* out = fdopen(terminal, "w");
  {
    Progress progress(out, 2, 1);
    progress.Step(Step(1));
    progress.Step(Step(2));
    progress.Say("the end");
  }
  std::string seen;
  while (seen.find("the end") == std::string::npos) {  // it may come in pieces
    char text[4096];
    const ssize_t size = read(other_end, text, sizeof(text));
    ASSERT_GT(size, 0);
    seen.append(text, size);
  }
  const size_t last = seen.rfind("step 2/2");
  ASSERT_NE(last, std::string::npos) << seen;
  const std::string behind = seen.substr(last);
  EXPECT_EQ(behind.find('\033'), std::string::npos) << behind;
  EXPECT_THAT(behind, ::testing::HasSubstr("ETA 0:00\r\nthe end"));
  std::fclose(out);
  close(other_end);
}

}  // namespace
}  // namespace lockstep
