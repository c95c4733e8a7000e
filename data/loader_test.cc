#include "data/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "data/letter_encoder.h"
#include "data/selection.h"

namespace lockstep::data {
namespace {

using ::testing::ElementsAre;

std::shared_ptr<const Dataset> Documents(const std::vector<std::string>& texts) {
  const std::string folder =
      ::testing::TempDir() + "/" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
  std::string lines;
  for (const std::string& text : texts) lines += "{\"text\":\"" + text + "\"}\n";
  DatasetSpec spec;
  spec.files = {folder + "/documents.jsonl"};
  spec.cache_dir = folder;
  spec.encoder_fingerprint = "letters";
  EXPECT_TRUE(MakeDirectories(folder).ok());
  EXPECT_TRUE(WriteFileAtomically(spec.files[0], lines).ok());
  auto dataset = OpenOrBuildDataset(spec, LetterEncoder(), nullptr);
  EXPECT_TRUE(dataset.ok()) << dataset.status();
  return *dataset;
}

TEST(BuildPackTest, PiecesStandEndToEnd) {
  const auto dataset = Documents({"a>bc", "xyz>efgh"});
  const std::vector<Piece> pieces = {{0, 0, 4, 2}, {1, 4, 8, 3}};  // "a>bc" and "efgh"
  const Pack pack = BuildPack(*dataset, pieces, {.pieces = {1, 0}}, 0);
  EXPECT_EQ(std::string(pack.input_ids.begin(), pack.input_ids.end()), "efgha>bc");
  EXPECT_THAT(pack.cu_seqlens, ElementsAre(0, 4, 8));
  EXPECT_THAT(pack.positions, ElementsAre(0, 1, 2, 3, 0, 1, 2, 3)) << "they begin in each piece";
  EXPECT_THAT(pack.documents, ElementsAre(1, 0));
  // A row predicts what follows; nothing predicts the first token of a piece.
  EXPECT_THAT(pack.target_rows, ElementsAre(0, 1, 2, 5, 6));
  EXPECT_THAT(pack.targets, ElementsAre('f', 'g', 'h', 'b', 'c'));
}

TEST(BuildPackTest, KeysNameEpochDocumentAndToken) {
  const auto dataset = Documents({"a>bc", "a>bc"});
  const std::vector<Piece> pieces = {{0, 0, 4, 2}, {1, 0, 4, 2}, {0, 2, 4, 1}};
  const auto keys = [&](std::vector<int64_t> of, int64_t epoch) {
    return BuildPack(*dataset, pieces, {.pieces = std::move(of)}, epoch).token_keys;
  };
  const std::vector<int64_t> first = keys({0}, 0);
  std::vector<int64_t> all = keys({0, 1}, 0);
  for (const int64_t key : keys({0, 1}, 1)) all.push_back(key);
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::unique(all.begin(), all.end()), all.end()) << "no two alike";
  EXPECT_EQ(keys({2}, 0), std::vector<int64_t>(first.begin() + 2, first.end()))
      << "a piece's are the document's";
  const std::vector<int64_t> behind = keys({1, 0}, 0);
  EXPECT_TRUE(std::equal(first.begin(), first.end(), behind.begin() + 4)) << "wherever it stands";
}

TEST(StepLoaderTest, RanksShareTheStepsOfThePlan) {
  std::vector<std::string> texts;
  for (int i = 0; i < 50; ++i) texts.push_back(">" + std::string(200 + 7 * i, 'a' + i % 26));
  const auto dataset = Documents(texts);
  const std::vector<Piece> pieces = SelectPieces(*dataset, {})->pieces;
  const StepPlan plan(pieces, {.global_batch_size = 20, .tokens_per_pack = 1024});
  for (const int ranks : {1, 3}) {
    std::vector<std::unique_ptr<StepLoader>> loaders;
    for (int rank = 0; rank < ranks; ++rank) {
      loaders.push_back(
          std::make_unique<StepLoader>(*dataset, pieces, plan, rank, ranks, /*first_step=*/2));
    }
    for (const int64_t index : {2, 3, 4}) {
      const StepPacks whole = plan.Step(index);
      std::vector<int64_t> want, got;
      for (const PackPlan& pack : whole.packs) {
        for (const int64_t piece : pack.pieces) want.push_back(pieces[piece].document);
      }
      for (const auto& loader : loaders) {
        const RankStep step = loader->Next();
        EXPECT_EQ(step.step, index);
        EXPECT_EQ(step.epoch, index / 3);
        EXPECT_EQ(step.num_packs, static_cast<int64_t>(whole.packs.size()));
        EXPECT_EQ(step.num_supervised, whole.num_supervised);
        EXPECT_EQ(step.num_tokens, whole.num_tokens);
        for (const Pack& pack : step.packs) {
          got.insert(got.end(), pack.documents.begin(), pack.documents.end());
        }
      }
      std::sort(want.begin(), want.end());
      std::sort(got.begin(), got.end());
      EXPECT_EQ(got, want);
    }
  }
}

}  // namespace
}  // namespace lockstep::data
