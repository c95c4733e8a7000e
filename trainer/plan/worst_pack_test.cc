#include "trainer/plan/worst_pack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using ::testing::ElementsAre;

// Of documents with these lengths, half of whose tokens are supervised.
struct Packs {
  explicit Packs(const std::vector<std::vector<uint32_t>>& lengths) {
    for (const std::vector<uint32_t>& of_pack : lengths) {
      data::PackPlan& pack = packs.emplace_back();
      for (const uint32_t length : of_pack) {
        pack.pieces.push_back(static_cast<int64_t>(pieces.size()));
        pieces.push_back({static_cast<int64_t>(pieces.size()), 0, length, length / 2});
        pack.num_tokens += length;
        pack.num_supervised += length / 2;
      }
    }
  }
  std::vector<data::Piece> pieces;
  std::vector<data::PackPlan> packs;
};

// As if attention wanted a byte for each token of the longest document, and in layers one for each
// document.
int64_t Bytes(absl::Span<const int32_t> starts, const AttentionChoice& choice) {
  if (choice.layer) return static_cast<int64_t>(starts.size()) - 1;
  int32_t longest = 0;
  for (size_t d = 1; d < starts.size(); ++d) longest = std::max(longest, starts[d] - starts[d - 1]);
  return longest;
}

TEST(WorstPackTest, TakesTheMostOfEveryKind) {
  const Packs packs({{8, 2}, {2, 2, 2}, {6, 6}});
  const PackSize worst = WorstPack(packs.pieces, packs.packs, Bytes);
  EXPECT_EQ(worst.tokens, 12);
  EXPECT_EQ(worst.supervised, 6);
  EXPECT_EQ(worst.documents, 3);
  EXPECT_EQ(worst.all_tokens, 28);
  EXPECT_EQ(worst.squares, 64 + 4 + 3 * 4 + 2 * 36);
  EXPECT_THAT(worst.worst.at({false, 0}).starts, ElementsAre(0, 8, 10));
  EXPECT_THAT(worst.worst.at({true, 0}).starts, ElementsAre(0, 2, 4, 6));
  for (const int64_t score_bytes : kScoreBytes)
    EXPECT_EQ(worst.worst.count({true, score_bytes}), 1);
}

TEST(WorstPackTest, KeepsTheMixtureInMoreOrFewerTokens) {
  const Packs packs({{8, 2}});
  const PackSize worst = WorstPack(packs.pieces, packs.packs, Bytes);
  const PackSize more = Scaled(worst, 25);
  EXPECT_EQ(more.tokens, 25);
  EXPECT_EQ(more.supervised, 13);
  EXPECT_EQ(more.documents, 6);
  EXPECT_THAT(more.worst.at({false, 0}).starts, ElementsAre(0, 8, 16, 21, 23, 25));
  EXPECT_THAT(Scaled(worst, 5).worst.at({false, 0}).starts, ElementsAre(0, 5));
  // Nothing to go by: one document.
  EXPECT_THAT(Scaled(WorstPack({}, {}, Bytes), 64).worst.at({false, 0}).starts, ElementsAre(0, 64));
}

}  // namespace
}  // namespace lockstep
