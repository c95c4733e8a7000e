#include "trainer/report/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
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

// What a terminal of so many columns (0: it does not say) gets from `body`, until "the end".
template <typename Body>
std::string OnTerminal(uint16_t columns, int64_t logging_steps, const Body& body) {
  int terminal = -1, other_end = -1;
  winsize window{};
  window.ws_col = columns;
  EXPECT_EQ(openpty(&other_end, &terminal, nullptr, nullptr, &window), 0);
  std::FILE* out = fdopen(terminal, "w");
  {
    Progress progress(out, 20, logging_steps);
    body(progress);
    progress.Say("the end");
  }
  std::string seen;
  while (seen.find("the end") == std::string::npos) {  // it may come in pieces
    char text[4096];
    const ssize_t size = read(other_end, text, sizeof(text));
    if (size <= 0) break;
    seen.append(text, size);
  }
  std::fclose(out);
  close(other_end);
  return seen;
}

// On a terminal a line renews itself, and what is said stands below the last one.
TEST(ProgressTest, ATerminalKeepsTheLastLine) {
  const std::string seen = OnTerminal(0, 0, [](Progress& progress) {
    progress.Step(Step(1));
    progress.Step(Step(2));
  });
  const size_t last = seen.rfind("step  2/20");
  ASSERT_NE(last, std::string::npos) << seen;
  EXPECT_EQ(seen.substr(0, last).find('\n'), std::string::npos) << seen;
  const std::string behind = seen.substr(last);
  EXPECT_EQ(behind.find('\033'), std::string::npos) << behind;
  EXPECT_THAT(behind, ::testing::HasSubstr("ETA 0:18\r\nthe end"));
}

TEST(ProgressTest, ATerminalKeepsTheLinesOfLoggingStepsToo) {
  const std::string seen = OnTerminal(0, 2, [](Progress& progress) {
    for (int step = 1; step <= 4; ++step) progress.Step(Step(step));
  });
  // Each with a bar below it, in whose place the next line comes.
  const std::string six(6, '#'), twelve(12, '#');
  EXPECT_THAT(seen, ::testing::HasSubstr("ETA 0:18\r\n[" + six + std::string(54, '.') +
                                         "]  10 %\r\033[Kstep  3/20"));
  EXPECT_THAT(seen, ::testing::HasSubstr("ETA 0:16\r\n[" + twelve + std::string(48, '.') +
                                         "]  20 %\r\033[Kthe end"));
}

TEST(ProgressTest, ALineIsNoWiderThanItsTerminal) {
  const std::string seen = OnTerminal(46, 1, [](Progress& progress) { progress.Step(Step(3)); });
  EXPECT_THAT(seen, ::testing::HasSubstr("\033[Kstep  3/20  loss 2.5000  ETA 0:17\r\n[#####" +
                                         std::string(32, '.') + "]  15 %\r"))
      << seen;
}

// Terminals that cannot move the cursor (an editor's, say) get what a file gets.
TEST(ProgressTest, ADumbTerminalGetsPlainLines) {
  setenv("TERM", "dumb", 1);
  const std::string seen = OnTerminal(46, 1, [](Progress& progress) { progress.Step(Step(3)); });
  unsetenv("TERM");
  EXPECT_EQ(seen.find('\033'), std::string::npos) << seen;
  EXPECT_THAT(seen, ::testing::HasSubstr("ETA 0:17\r\nthe end"));
}

// A sample shows what stands in a document.
TEST(ProgressTest, WhatIsSaidDoesNotCommandTheTerminal) {
  const std::string seen =
      OnTerminal(80, 1, [](Progress& progress) { progress.Say("> \x1b[2Jprompt"); });
  EXPECT_THAT(seen, ::testing::HasSubstr("> ␛[2Jprompt\r\nthe end"));
}

TEST(ProgressTest, FiguresGoInTheOrderOfTheirWorth) {
  EXPECT_EQ(FormatStep(Step(3), 20, 60, 90),
            "step  3/20  epoch 0.00  loss 2.5000  grad 0  lr 0.00e+00  12.3k tokens/s  ETA 1:00");
  EXPECT_EQ(FormatStep(Step(3), 20, 60, 65),
            "step  3/20  epoch 0.00  loss 2.5000  12.3k tokens/s  ETA 1:00");
  EXPECT_EQ(FormatStep(Step(3), 20, 60, 35), "step  3/20  loss 2.5000  ETA 1:00");
  EXPECT_EQ(FormatStep(Step(3), 20, 60, 5), "step  3/20  loss 2.5000");
}

}  // namespace
}  // namespace lockstep
