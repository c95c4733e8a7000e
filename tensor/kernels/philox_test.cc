#include "tensor/kernels/philox.h"

#include "gtest/gtest.h"

namespace lockstep::kernels {
namespace {

TEST(PhiloxTest, GivesThePublishedAnswers) {  // the known answers of the paper's Random123 library
  const PhiloxBlock zeros = Philox({}, 0);
  EXPECT_EQ(zeros.word[0], 0x6627e8d5u);
  EXPECT_EQ(zeros.word[1], 0xe169c58du);
  EXPECT_EQ(zeros.word[2], 0xbc57ac4cu);
  EXPECT_EQ(zeros.word[3], 0x9b00dbd8u);
  const PhiloxBlock pi =
      Philox({{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}}, 0x299f31d0a4093822u);
  EXPECT_EQ(pi.word[0], 0xd16cfe09u);
  EXPECT_EQ(pi.word[1], 0x94fdccebu);
  EXPECT_EQ(pi.word[2], 0x5001e420u);
  EXPECT_EQ(pi.word[3], 0x24126ea1u);
}

}  // namespace
}  // namespace lockstep::kernels
