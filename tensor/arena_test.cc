#include "tensor/arena.h"

#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace lockstep {
namespace {

TEST(ArenaTest, TakesTheSmallestHoleThatFits) {
  Arena arena;
  arena.AddSegment(1000, 100);
  EXPECT_EQ(arena.Take(10), 1000u);
  EXPECT_EQ(arena.Take(20), 1010u);
  EXPECT_EQ(arena.Take(30), 1030u);
  arena.GiveBack(1010, 20);
  EXPECT_EQ(arena.Take(25), 1060u);
  EXPECT_EQ(arena.Take(20), 1010u);
  EXPECT_EQ(arena.Take(16), std::nullopt);
  EXPECT_EQ(arena.largest_hole(), 15u);
}

TEST(ArenaTest, NeighborsJoinButSegmentsDoNot) {
  Arena arena;
  arena.AddSegment(0x1000, 64);
  arena.AddSegment(0x1000 + 64, 64);  // right behind the first
  EXPECT_EQ(arena.Take(100), std::nullopt);
  const auto a = arena.Take(32), b = arena.Take(32), c = arena.Take(64);
  arena.GiveBack(*a, 32);
  arena.GiveBack(*c, 64);
  arena.GiveBack(*b, 32);
  EXPECT_EQ(arena.largest_hole(), 64u);
}

TEST(ArenaTest, RandomUseNeverOverlapsAndEndsWhole) {
  Arena arena;
  constexpr size_t kSize = 1 << 20;
  arena.AddSegment(kSize, kSize);
  std::mt19937 bits(1);
  std::vector<std::pair<uintptr_t, size_t>> taken;
  for (int i = 0; i < 20000; ++i) {
    if (bits() % 2 == 0 || taken.empty()) {
      const size_t bytes = 1 + bits() % 5000;
      const auto start = arena.Take(bytes);
      if (!start) continue;
      for (const auto& [other, size] : taken) {
        ASSERT_TRUE(*start + bytes <= other || other + size <= *start);
      }
      taken.push_back({*start, bytes});
    } else {
      std::swap(taken[bits() % taken.size()], taken.back());
      arena.GiveBack(taken.back().first, taken.back().second);
      taken.pop_back();
    }
  }
  for (const auto& [start, bytes] : taken) arena.GiveBack(start, bytes);
  EXPECT_EQ(arena.largest_hole(), kSize);
}

TEST(ArenaTest, ABlockDoesNotJoinTheSegmentBeforeItsOwn) {
  Arena arena;
  arena.AddSegment(0x1000, 64);
  arena.AddSegment(0x1000 + 64, 128);
  const auto block = arena.Take(128);
  ASSERT_EQ(*block, uintptr_t{0x1000 + 64});
  arena.GiveBack(*block, 128);
  EXPECT_EQ(arena.largest_hole(), 128u) << "the hole before it is another segment's";
}

TEST(ArenaDeathTest, GivingBackTwiceIsFatal) {
  Arena arena;
  arena.AddSegment(0x1000, 64);
  const auto a = arena.Take(32);
  arena.GiveBack(*a, 32);
  EXPECT_DEATH(arena.GiveBack(*a, 32), "given back twice");
}

}  // namespace
}  // namespace lockstep
