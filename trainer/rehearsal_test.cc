#include "trainer/rehearsal.h"

#include <set>

#include "gtest/gtest.h"

namespace lockstep {
namespace {

constexpr int64_t kMultiple = 64;

std::vector<data::Piece> Pieces(int64_t count, int64_t longest) {
  std::vector<data::Piece> pieces(count);
  for (int64_t i = 0; i < count; ++i) {
    pieces[i].document = i;
    pieces[i].end = 1 + static_cast<uint32_t>(i * i % longest);
    pieces[i].num_supervised = pieces[i].end / 2;
  }
  return pieces;
}

int64_t RowsOf(const data::PackPlan& pack) {
  return (pack.num_tokens + kMultiple - 1) / kMultiple * kMultiple;
}

TEST(RehearsalTest, EveryNumberOfRowsOfThisRankIsThereOnce) {
  const std::vector<data::Piece> pieces = Pieces(300, 97);
  const data::StepPlan plan(pieces, {.global_batch_size = 100, .tokens_per_pack = 1024});
  for (int rank = 0; rank < 2; ++rank) {
    std::set<int64_t> want;
    for (int64_t step = 1; step < 6; ++step) {
      const data::StepPacks packs = plan.Step(step);
      const auto dealt = data::DealPacks(packs.packs, 2);
      for (const int64_t i : dealt[rank]) {
        want.insert(RowsOf(packs.packs[i]));
      }
    }
    ASSERT_LE(want.size(), 16u);
    std::multiset<int64_t> got;
    const auto packs = PacksOf(plan, {.first = 1, .end = 6, .rank = rank, .size = 2});
    const std::vector<bool> none(packs.size(), false);
    for (const PlannedPack& pack : OneOfEachKind(packs, none, kMultiple)) {
      got.insert(RowsOf(pack.plan));
    }
    EXPECT_EQ(got, std::multiset<int64_t>(want.begin(), want.end()));
  }
}

TEST(RehearsalTest, PacksThatNeedSomethingNewComeFirstAndOfManyKindsASample) {
  const std::vector<data::Piece> pieces = Pieces(4000, 3001);
  const data::StepPlan plan(pieces, {.global_batch_size = 3, .tokens_per_pack = 8192});
  std::set<int64_t> rows, longest;
  const auto all = PacksOf(plan, {.first = 0, .end = 1000, .rank = 0, .size = 1});
  std::vector<bool> new_kind;
  for (const PlannedPack& pack : all) {
    rows.insert(RowsOf(pack.plan));
    new_kind.push_back(longest.insert(pieces[pack.plan.pieces[0]].length() / 1000).second);
  }
  const auto packs = OneOfEachKind(all, new_kind, kMultiple);
  ASSERT_EQ(longest.size(), 4u);
  ASSERT_GT(rows.size(), 40u);
  ASSERT_EQ(packs.size(), 4u + 16u);
  std::set<int64_t> first;
  for (int i = 0; i < 4; ++i) {
    first.insert(pieces[packs[i].plan.pieces[0]].length() / 1000);
    rows.erase(RowsOf(packs[i].plan));
  }
  EXPECT_EQ(first, longest);
  EXPECT_EQ(RowsOf(packs.back().plan), *rows.rbegin());
}

}  // namespace
}  // namespace lockstep
