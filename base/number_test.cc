#include "base/number.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

namespace lockstep {
namespace {

TEST(ShortestNumberTest, ReadsBackToTheSameBits) {
  EXPECT_EQ(ShortestNumber(0.1), "0.1");
  EXPECT_EQ(ShortestNumber(2), "2");
  EXPECT_EQ(ShortestNumber(1e-7), "1e-07");
  EXPECT_EQ(ShortestNumber(std::nan("")), "null");
  EXPECT_EQ(ShortestNumber(INFINITY), "null");
  double x = 1.0 / 3;
  for (int i = 0; i < 1000; ++i) {
    x = std::fmod(x * 1.37e3 + 1.0 / (i + 7), 19.0) * (i % 3 ? 1 : 1e-12);
    EXPECT_EQ(std::strtod(ShortestNumber(x).c_str(), nullptr), x);
  }
}

TEST(HumanTest, TimesCountsAndBytes) {
  EXPECT_EQ(ClockTime(7), "0:07");
  EXPECT_EQ(ClockTime(3723), "1:02:03");
  EXPECT_EQ(HumanCount(950), "950");
  EXPECT_EQ(HumanCount(12345), "12.3k");
  EXPECT_EQ(HumanCount(4.56e6), "4.56M");
  EXPECT_EQ(HumanCount(999.7e3), "1M") << "what rounds to 1000k is the next unit";
  EXPECT_EQ(HumanBytes(812), "812 B");
  EXPECT_EQ(HumanBytes(3.5 * 1024 * 1024), "3.50 MiB");
  EXPECT_EQ(HumanBytes(1 << 20), "1.00 MiB");
}

TEST(HumanTest, ARowKeepsNameAndValueApart) {
  EXPECT_EQ(TableRow("steps", "463"), "  steps                       463");
  EXPECT_EQ(TableRow("warning: duplicate_document", "1; …"), "  warning: duplicate_document  1; …");
}

}  // namespace
}  // namespace lockstep
