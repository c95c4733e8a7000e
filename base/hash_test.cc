#include "base/hash.h"

#include "gtest/gtest.h"

namespace lockstep {
namespace {

TEST(HashTest, IsXxh3) {
  EXPECT_EQ(Hash64(""), 0x2d06800538d394c2ull);  // XXH3's published value for no bytes
  EXPECT_EQ(HashHex(""), "99aa06d3014798d86001c324468d497f");
  EXPECT_NE(Hash64("a"), Hash64("b"));
  EXPECT_NE(Hash64("a", 1), Hash64("a", 2));
}

TEST(HashTest, PartsHashLikeTheWhole) {
  Hasher hasher;
  hasher.Update("lock");
  hasher.Update("step");
  EXPECT_EQ(hasher.Hex(), HashHex("lockstep"));
}

TEST(HashTest, MixingIsOrdered) { EXPECT_NE(MixKeys(1, 2), MixKeys(2, 1)); }

}  // namespace
}  // namespace lockstep
