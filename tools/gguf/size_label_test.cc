#include "tools/gguf/size_label.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

TEST(SizeLabelTest, TwoDigitsOrAllBeforeThePoint) {
  EXPECT_EQ(SizeLabel(8'030'261'248), "8.0B");
  EXPECT_EQ(SizeLabel(134'515'008), "135M");
  EXPECT_EQ(SizeLabel(70'553'706'496), "71B");
  EXPECT_EQ(SizeLabel(1'235'814'400), "1.2B");
  EXPECT_EQ(SizeLabel(494'032'768), "494M");
  EXPECT_EQ(SizeLabel(1'000'000'000'000), "1.0T");
  EXPECT_EQ(SizeLabel(999'700'000), "1000M");
  EXPECT_EQ(SizeLabel(1'000'000), "1.0M");
  EXPECT_EQ(SizeLabel(78'400), "78K");
  EXPECT_EQ(SizeLabel(9'700), "10K");
  EXPECT_EQ(SizeLabel(420), "0.42K");
}

}  // namespace
}  // namespace lockstep
