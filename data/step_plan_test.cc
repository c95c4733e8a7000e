#include "data/step_plan.h"

#include <random>
#include <set>

#include "gtest/gtest.h"

namespace lockstep::data {
namespace {

// Lengths of many short documents and a few long ones, as chats have.
std::vector<Piece> RandomPieces(int64_t count, uint32_t longest, uint32_t seed) {
  std::mt19937 bits(seed);
  std::vector<Piece> pieces;
  for (int64_t i = 0; i < count; ++i) {
    const double u = (bits() + 1.0) * 0x1p-32;
    const uint32_t length = std::max<uint32_t>(2, static_cast<uint32_t>(longest * u * u * u));
    pieces.push_back({i, 0, length, length / 2});
  }
  return pieces;
}

TEST(StepPlanTest, AnEpochTakesEveryPieceOnce) {
  for (const int64_t count : {1, 2, 3, 15, 16, 17, 1000}) {
    const std::vector<Piece> pieces = RandomPieces(count, 500, 1);
    const StepPlan plan(pieces, {.global_batch_size = 16, .tokens_per_pack = 512, .seed = 7});
    EXPECT_EQ(plan.steps_per_epoch(), (count + 15) / 16);
    for (const int64_t epoch : {0, 1}) {
      std::multiset<int64_t> seen;
      for (int64_t s = 0; s < plan.steps_per_epoch(); ++s) {
        const StepPacks step = plan.Step(epoch * plan.steps_per_epoch() + s);
        EXPECT_EQ(step.epoch, epoch);
        int64_t tokens = 0, supervised = 0;
        for (const PackPlan& pack : step.packs) {
          EXPECT_FALSE(pack.pieces.empty());
          EXPECT_LE(pack.num_tokens, 512);
          seen.insert(pack.pieces.begin(), pack.pieces.end());
          tokens += pack.num_tokens;
          supervised += pack.num_supervised;
        }
        EXPECT_EQ(step.num_tokens, tokens);
        EXPECT_EQ(step.num_supervised, supervised);
      }
      EXPECT_EQ(seen.size(), static_cast<size_t>(count));
      EXPECT_EQ(std::set<int64_t>(seen.begin(), seen.end()).size(), static_cast<size_t>(count));
    }
  }
}

TEST(StepPlanTest, EpochsAndSeedsShuffleDifferently) {
  const std::vector<Piece> pieces = RandomPieces(1000, 100, 2);
  const StepPlan a(pieces, {.global_batch_size = 8, .tokens_per_pack = 512, .seed = 1});
  const StepPlan b(pieces, {.global_batch_size = 8, .tokens_per_pack = 512, .seed = 2});
  int same_epoch = 0, same_seed = 0, fixed = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    same_epoch += a.PieceAt(0, i) == a.PieceAt(1, i);
    same_seed += a.PieceAt(0, i) == b.PieceAt(0, i);
    fixed += a.PieceAt(0, i) == i;
  }
  EXPECT_LT(same_epoch, 10);
  EXPECT_LT(same_seed, 10);
  EXPECT_LT(fixed, 10);
  EXPECT_NE(a.Hash(), b.Hash());
}

TEST(StepPlanTest, TheNumberOfPacksFollowsTheRule) {
  const auto packs = [](int64_t count, uint32_t length, int64_t tokens_per_pack) {
    const std::vector<Piece> pieces(count, Piece{0, 0, length, 1});
    const StepPlan plan(pieces, {.global_batch_size = count, .tokens_per_pack = tokens_per_pack});
    return plan.Step(0).packs.size();
  };
  EXPECT_EQ(packs(64, 1024, 8192), 8u);   // 65,536 tokens: 8 full packs
  EXPECT_EQ(packs(65, 1024, 8192), 16u);  // one more document: 16
  EXPECT_EQ(packs(8, 1024, 8192), 8u);    // 1,024 a pack: just enough
  EXPECT_EQ(packs(7, 1024, 8192), 4u);
  EXPECT_EQ(packs(3, 1024, 8192), 2u);
  EXPECT_EQ(packs(1, 1024, 8192), 1u);
  EXPECT_EQ(packs(16, 100, 8192), 1u);
  EXPECT_EQ(packs(16, 100, 200), 8u);  // small packs were asked for: capacity rules
}

TEST(StepPlanTest, PacksOfAStepCostTheSame) {
  const std::vector<Piece> pieces = RandomPieces(5000, 1000, 3);
  const StepPlan plan(pieces, {.global_batch_size = 512, .tokens_per_pack = 32768});
  EXPECT_LT(plan.Summarize().mean_imbalance, 0.01);
  for (const int world_size : {1, 2, 3, 4, 8}) {
    const StepPacks step = plan.Step(0);
    const auto dealt = DealPacks(step.packs, world_size);
    std::set<int64_t> all;
    for (const auto& packs : dealt) all.insert(packs.begin(), packs.end());
    EXPECT_EQ(all.size(), step.packs.size());
  }
}

TEST(StepPlanTest, PacksAreDealtFromTheMostExpensiveOn) {
  std::vector<PackPlan> packs(5);
  for (size_t p = 0; p < packs.size(); ++p) packs[p].cost = p == 4 ? 4 : 1;
  const std::vector<std::vector<int64_t>> want = {{4}, {0, 1, 2, 3}};
  EXPECT_EQ(DealPacks(packs, 2), want);
}

// A step's packs: whole, within the limit, the same for whoever asks, all of them dealt to ranks.
void CheckStep(const StepPacks& step, const StepPacks& same, absl::Span<const Piece> pieces,
               int64_t tokens_per_pack, std::vector<int64_t>* seen) {
  ASSERT_EQ(step.packs.size(), same.packs.size());
  for (size_t p = 0; p < step.packs.size(); ++p) {
    const PackPlan& pack = step.packs[p];
    EXPECT_EQ(pack.pieces, same.packs[p].pieces);
    int64_t tokens = 0;
    for (const int64_t piece : pack.pieces) tokens += pieces[piece].length();
    EXPECT_EQ(tokens, pack.num_tokens);
    EXPECT_GT(tokens, 0);
    EXPECT_LE(tokens, tokens_per_pack);
    seen->insert(seen->end(), pack.pieces.begin(), pack.pieces.end());
  }
  for (const int world_size : {1, 2, 3, 5, 8}) {
    size_t dealt = 0;
    for (const auto& packs : DealPacks(step.packs, world_size)) dealt += packs.size();
    EXPECT_EQ(dealt, step.packs.size());
  }
}

TEST(StepPlanTest, AnyLengthsAndOptionsGiveEachPieceOnceAnEpoch) {
  std::mt19937 bits(6);
  const auto below = [&](int64_t limit) { return static_cast<int64_t>(bits() % limit); };
  for (uint32_t round = 0; round < 60; ++round) {
    const int64_t count = 1 + below(1500);
    const std::vector<Piece> pieces =
        RandomPieces(count, static_cast<uint32_t>(2 + below(4000)), round);
    int64_t longest = 0;
    for (const Piece& piece : pieces) longest = std::max<int64_t>(longest, piece.length());
    PlanOptions options;
    options.global_batch_size = 1 + below(300);
    options.tokens_per_pack = longest + below(8192);
    options.seed = round;
    const StepPlan plan(pieces, options), again(pieces, options);
    const int64_t first = below(5) * plan.steps_per_epoch();
    std::vector<int64_t> seen;
    for (int64_t s = first; s < first + plan.steps_per_epoch(); ++s) {
      CheckStep(plan.Step(s), again.Step(s), pieces, options.tokens_per_pack, &seen);
    }
    std::sort(seen.begin(), seen.end());
    std::vector<int64_t> all(pieces.size());
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(seen, all);
  }
}

TEST(StepPlanTest, DefaultTokensPerPackCoversTheLongestPieceAndTheLargestStep) {
  const std::vector<Piece> pieces = RandomPieces(300, 900, 4);
  const int64_t tokens_per_pack = DefaultTokensPerPack(pieces, 64);
  EXPECT_EQ(tokens_per_pack % 64, 0);
  EXPECT_LE(tokens_per_pack, 8192);
  const StepPlan plan(pieces, {.global_batch_size = 64, .tokens_per_pack = tokens_per_pack});
  EXPECT_LE(plan.Summarize().max_packs, 8);
  const std::vector<Piece> one = {{0, 0, 20000, 5}};
  EXPECT_EQ(DefaultTokensPerPack(one, 16), 20032);
}

TEST(StepPlanTest, EachRankHasAPack) {
  const std::vector<Piece> pieces(1000, Piece{0, 0, 128, 1});
  for (const int64_t ranks : {1, 2, 3, 4, 5, 8, 9, 16}) {
    const int64_t batch = BatchSizeForRanks(pieces, ranks);
    const auto packs = [&](int64_t size) {
      return StepPlan(pieces, {.global_batch_size = size}).Summarize().max_packs;
    };
    EXPECT_GE(packs(batch), ranks);
    EXPECT_TRUE(batch == 1 || packs(batch - 1) < ranks) << ranks;
  }
  EXPECT_EQ(BatchSizeForRanks(pieces, 8), 64);
  EXPECT_EQ(BatchSizeForRanks(std::vector<Piece>(10, Piece{0, 0, 5000, 1}), 4), 4);
}

TEST(StepPlanTest, EvaluationPacksHoldEachPieceOnce) {
  const std::vector<Piece> pieces = RandomPieces(100, 300, 5);
  std::set<int64_t> seen;
  for (const PackPlan& pack : PlanEvaluation(pieces, 400)) {
    EXPECT_LE(pack.num_tokens, 400);
    seen.insert(pack.pieces.begin(), pack.pieces.end());
  }
  EXPECT_EQ(seen.size(), pieces.size());
}

TEST(StepPlanDeathTest, APieceMustFitAPack) {
  const std::vector<Piece> pieces = {{0, 0, 100, 1}};
  EXPECT_DEATH(StepPlan(pieces, {.tokens_per_pack = 64}), "under the longest piece");
}

}  // namespace
}  // namespace lockstep::data
