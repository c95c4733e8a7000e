#include "base/progress.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

TEST(ProgressTest, CountsWhatIsDone) {
  const int64_t before = ProgressMarks();
  EXPECT_EQ(ProgressMarks(), before);
  MarkProgress();
  EXPECT_EQ(ProgressMarks(), before + 1);
}

TEST(ProgressTest, AWaitCountsWhileItLasts) {
  {
    const WaitAsProgress wait;
    const int64_t before = ProgressMarks();
    EXPECT_GT(ProgressMarks(), before);
  }
  const int64_t after = ProgressMarks();
  EXPECT_EQ(ProgressMarks(), after);
}

TEST(ProgressTest, AWaitWithoutEndDoesNotCountForEver) {
  const WaitAsProgress wait(0);
  const int64_t before = ProgressMarks();
  EXPECT_EQ(ProgressMarks(), before);
}

}  // namespace
}  // namespace lockstep
