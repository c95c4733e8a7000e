#include "base/terminal.h"

#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <cstdlib>

namespace lockstep {
namespace {

TEST(TerminalTest, ItsKindAndItsUserDecide) {
  int terminal = -1, other_end = -1;
  ASSERT_EQ(openpty(&other_end, &terminal, nullptr, nullptr, nullptr), 0);
  setenv("TERM", "xterm", 1);
  unsetenv("NO_COLOR");
  EXPECT_TRUE(RewritesLines(terminal));
  EXPECT_TRUE(TakesColors(terminal));
  setenv("NO_COLOR", "", 1);
  EXPECT_TRUE(TakesColors(terminal)) << "empty is as if it were not there";
  setenv("NO_COLOR", "0", 1);
  EXPECT_TRUE(RewritesLines(terminal));
  EXPECT_FALSE(TakesColors(terminal)) << "whatever it says";
  unsetenv("NO_COLOR");
  setenv("TERM", "dumb", 1);
  EXPECT_FALSE(RewritesLines(terminal));
  EXPECT_FALSE(TakesColors(terminal));
  close(terminal);
  close(other_end);
}

TEST(TerminalTest, AFileIsNone) {
  setenv("TERM", "xterm", 1);
  unsetenv("NO_COLOR");
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_FALSE(RewritesLines(ends[1]));
  EXPECT_FALSE(TakesColors(ends[1]));
  close(ends[0]);
  close(ends[1]);
}

TEST(TerminalTest, TextDoesNotCommandIt) {
  EXPECT_EQ(VisibleText("\x1b[31mred\x7f\r\n\ttab"), "␛[31mred␡␍\n\ttab");
  EXPECT_EQ(VisibleText("\u009b2J é \u00a0ü 猫"), "\uFFFD2J é \u00a0ü 猫");
  EXPECT_EQ(VisibleText(absl::string_view("\0\xC2", 2)), "␀\xC2");
}

}  // namespace
}  // namespace lockstep
