#include "trainer/flags/user_path.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace lockstep {
namespace {

TEST(UserPathTest, StartsWhereTheUserIs) {
  setenv("BUILD_WORKING_DIRECTORY", "/home/someone", 1);
  EXPECT_EQ(UserPath("a/b"), "/home/someone/a/b");
  EXPECT_EQ(UserPath("/a/b"), "/a/b");
  EXPECT_EQ(UserPath("-"), "-");
  EXPECT_EQ(UserPath(""), "");
  setenv("HOME", "/home/her", 1);
  EXPECT_EQ(UserPath("~/a"), "/home/her/a");
  EXPECT_EQ(UserPath("~a"), "/home/someone/~a");
  unsetenv("BUILD_WORKING_DIRECTORY");
  EXPECT_EQ(UserPath("a/b"), "a/b");
}

}  // namespace
}  // namespace lockstep
