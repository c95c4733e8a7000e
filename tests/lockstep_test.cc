// The promise: the same run on 1, 2, 3, 4 or 8 ranks gives the same loss curve and the same
// adapter, to the last bit. Real processes, uneven documents.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "tests/figures.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"
#include "trainer/report/metrics.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;
using Flags = std::vector<std::string>;

struct Result {
  std::string adapter;  // bytes
  std::string figures;  // FiguresIn
  std::string run;      // run.json
};

double LastLoss(const Result& result) {
  const auto history = ParseMetrics(result.figures, "metrics.jsonl", INT64_MAX);
  return history.ok() && !history->steps.empty() ? history->steps.back().loss : -1;
}

class LockstepTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    model_ = new std::string(FreshPath("model"));
    documents_ = new std::string(FreshPath("documents") + ".jsonl");
    WriteTinyModel(*model_);
    WriteUnevenDocuments(*documents_, 150, 300);
  }

  static Result Run(const Flags& more) {
    const std::string folder = FreshPath("run");
    Flags flags = {"--model=" + *model_,
                   "--train_file=" + *documents_,
                   "--output_dir=" + folder,
                   "--validation_split=0.1",
                   "--global_batch_size=37",
                   "--max_steps=6",
                   "--eval_steps=3",
                   "--tokens_per_pack=512",
                   "--max_seq_length=300",
                   "--learning_rate=1e-2",
                   "--lora_r=4",
                   "--num_threads=1"};
    flags.insert(flags.end(), more.begin(), more.end());
    const Outcome outcome = Train(flags);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    const auto adapter = ReadFile(folder + "/adapter_model.safetensors");
    EXPECT_TRUE(adapter.ok()) << outcome.out << outcome.err;
    return {adapter.value_or(""), FiguresIn(folder), ReadFile(folder + "/run.json").value_or("")};
  }

  static void ExpectSame(const Result& want, const Flags& flags) {
    SCOPED_TRACE(absl::StrCat("with ", flags[0]));
    const Result got = Run(flags);
    EXPECT_EQ(got.figures, want.figures);
    EXPECT_TRUE(got.adapter == want.adapter) << "the adapters differ";
  }

  static std::string* model_;
  static std::string* documents_;
};
std::string* LockstepTest::model_ = nullptr;
std::string* LockstepTest::documents_ = nullptr;

TEST_F(LockstepTest, AnyNumberOfRanksGivesTheSameBits) {
  const Result one = Run({"--nproc_per_node=1"});
  EXPECT_EQ(std::count(one.figures.begin(), one.figures.end(), '\n'), 6 + 3);
  for (const int ranks : {2, 3, 4, 8}) {
    ExpectSame(one, {absl::StrCat("--nproc_per_node=", ranks)});
  }
}

TEST_F(LockstepTest, AlsoWithDropout) {
  const Flags dropout = {"--lora_dropout=0.2"};
  const Result one = Run({"--nproc_per_node=1", dropout[0]});
  ExpectSame(one, {"--nproc_per_node=3", dropout[0]});
  // The comparison can fail: without dropout it is another run.
  EXPECT_NE(one.figures, Run({"--nproc_per_node=2"}).figures);
}

TEST_F(LockstepTest, BucketsThreadsAndRecomputeDoNotMatter) {
  const Result plain = Run({"--nproc_per_node=2"});
  ExpectSame(plain, {"--bucket_cap_mb=0.001", "--nproc_per_node=3"});
  ExpectSame(plain, {"--num_threads=3", "--nproc_per_node=2"});
  ExpectSame(plain, {"--gradient_checkpointing=layer", "--nproc_per_node=1"});
}

TEST_F(LockstepTest, LinearLayersInFp8) {
  const Flags fp8 = {"--base_dtype=fp8", "--lora_dropout=0.1"};
  const Result one = Run({"--nproc_per_node=1", fp8[0], fp8[1]});
  ExpectSame(one, {"--nproc_per_node=3", "--num_threads=2", fp8[0], fp8[1]});
  ExpectSame(one, {"--gradient_checkpointing=layer", "--nproc_per_node=2", fp8[0], fp8[1]});
  const Result fp32 = Run({"--nproc_per_node=2", fp8[1]});
  EXPECT_NE(one.figures, fp32.figures);
  EXPECT_NEAR(LastLoss(one), LastLoss(fp32), 0.02 * LastLoss(fp32));
}

TEST_F(LockstepTest, MoreRanksThanPacks) {
  const Flags small = {"--global_batch_size=2", "--tokens_per_pack=4096"};
  const Result one = Run({"--nproc_per_node=1", small[0], small[1]});
  ExpectSame(one, {"--nproc_per_node=4", small[0], small[1]});
}

// Ranks share the update of the weights, all but what they cannot share evenly.
TEST_F(LockstepTest, FullTrainingWithExactSums) {
  const std::string model = FreshPath("wide"), folder = FreshPath("full");
  WriteTinyModel(model, 1, /*mlp=*/1024);
  const auto run = [&](int ranks) {
    const std::string out = absl::StrCat(folder, ranks);
    const Outcome outcome = Train(
        {"--model=" + model, "--train_file=" + *documents_, "--output_dir=" + out, "--train=full",
         "--gradient_sum=exact", "--max_steps=4", "--eval_steps=2", "--validation_split=0.1",
         "--tokens_per_pack=512", "--max_seq_length=300", "--num_threads=1", "--learning_rate=1e-3",
         "--weight_decay=0.1", "--bucket_cap_mb=1", absl::StrCat("--nproc_per_node=", ranks)});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    return Result{ReadFile(out + "/model.safetensors").value_or(""), FiguresIn(out), ""};
  };
  const Result one = run(1);
  EXPECT_GT(one.adapter.size(), 400'000u);
  for (const int ranks : {2, 3, 8}) {
    const Result several = run(ranks);
    EXPECT_EQ(several.figures, one.figures) << ranks;
    EXPECT_TRUE(several.adapter == one.adapter) << "the weights of " << ranks << " ranks differ";
  }
}

// Real weights, a real tokenizer, real questions.
TEST_F(LockstepTest, Stories260k) {
  const std::string shared = "external/shared/assets/";
  if (!FileExists(shared + "stories260k/config.json")) {
    GTEST_SKIP() << "the reference material is not beside this checkout";
  }
  const auto run = [&](int ranks) {
    const std::string folder = FreshPath("stories");
    const Outcome outcome =
        Train({"--model=" + shared + "stories260k",
               "--train_file=" + shared + "datasets/gsm8k_train.jsonl", "--max_seq_length=256",
               "--global_batch_size=40", "--max_steps=3", "--num_threads=1",
               "--output_dir=" + folder, absl::StrCat("--nproc_per_node=", ranks)});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    return Result{ReadFile(folder + "/adapter_model.safetensors").value_or(""), FiguresIn(folder),
                  ""};
  };
  const Result one = run(1), three = run(3);
  EXPECT_EQ(std::count(one.figures.begin(), one.figures.end(), '\n'), 3);
  EXPECT_EQ(one.figures, three.figures);
  EXPECT_TRUE(one.adapter == three.adapter) << "the adapters differ";
}

// What the promise rests on can break: floating-point sums depend on who adds what, and the same
// comparison sees it. Such a run says so.
TEST_F(LockstepTest, FloatingPointSumsAreNotInLockstep) {
  const Result exact = Run({"--nproc_per_node=1"});
  EXPECT_THAT(exact.run, HasSubstr("\"bits_independent_of_ranks\": true"));
  for (const char* sum : {"--gradient_sum=fp32", "--gradient_sum=bf16"}) {
    SCOPED_TRACE(sum);
    const Result one = Run({"--nproc_per_node=1", sum});
    const Result three = Run({"--nproc_per_node=3", sum});
    EXPECT_NE(one.adapter, three.adapter);
    for (const Result& result : {one, three}) {
      EXPECT_THAT(result.run, HasSubstr("\"bits_independent_of_ranks\": false"));
      EXPECT_NEAR(LastLoss(result), LastLoss(exact), 0.01 * LastLoss(exact));
    }
  }
}

}  // namespace
}  // namespace lockstep
