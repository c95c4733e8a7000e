// The promise: the same run on 1, 2, 3, 4 or 8 ranks gives the same loss curve and the same
// adapter, to the last bit. Real processes, uneven documents.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "tests/run_result.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"
#include "trainer/report/metrics.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;
using Flags = std::vector<std::string>;

double LastLoss(const RunResult& result) {
  const auto history = ParseMetrics(result.figures, "metrics.jsonl", INT64_MAX);
  return history.ok() && !history->steps.empty() ? history->steps.back().loss : -1;
}

class LockstepTest : public ::testing::Test {
 protected:
  RunResult Run(const Flags& more) {
    folder_ = FreshPath("run");
    Flags flags = {"--model=" + input_.model,
                   "--train_file=" + input_.documents,
                   "--output_dir=" + folder_,
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
    return ResultIn(folder_);
  }

  void ExpectSameWith(const Flags& flags, const RunResult& want) {
    SCOPED_TRACE(absl::StrCat("with ", flags[0]));
    ExpectSame(Run(flags), want);
  }

  const TinyInput input_ = MakeTinyInput(150, 300);
  std::string folder_;  // of the last run
};

TEST_F(LockstepTest, AnyNumberOfRanksGivesTheSameBits) {
  const RunResult one = Run({"--nproc_per_node=1"});
  EXPECT_EQ(std::count(one.figures.begin(), one.figures.end(), '\n'), 6 + 3);
  for (const int ranks : {2, 3, 4, 8}) {
    ExpectSameWith({absl::StrCat("--nproc_per_node=", ranks)}, one);
  }
}

TEST_F(LockstepTest, AlsoWithDropout) {
  const Flags dropout = {"--lora_dropout=0.2"};
  const RunResult one = Run({"--nproc_per_node=1", dropout[0]});
  ExpectSameWith({"--nproc_per_node=3", dropout[0]}, one);
  // The comparison can fail: without dropout it is another run.
  EXPECT_NE(one.figures, Run({"--nproc_per_node=2"}).figures);
}

TEST_F(LockstepTest, BucketsThreadsAndRecomputeDoNotMatter) {
  const RunResult plain = Run({"--nproc_per_node=2"});
  ExpectSameWith({"--bucket_cap_mb=0.001", "--nproc_per_node=3"}, plain);
  ExpectSameWith({"--num_threads=3", "--nproc_per_node=2"}, plain);
  ExpectSameWith({"--gradient_checkpointing=layer", "--nproc_per_node=1"}, plain);
}

TEST_F(LockstepTest, LinearLayersInFp8) {
  const Flags fp8 = {"--base_dtype=fp8", "--lora_dropout=0.1"};
  const RunResult one = Run({"--nproc_per_node=1", fp8[0], fp8[1]});
  ExpectSameWith({"--nproc_per_node=3", "--num_threads=2", fp8[0], fp8[1]}, one);
  ExpectSameWith({"--gradient_checkpointing=layer", "--nproc_per_node=2", fp8[0], fp8[1]}, one);
  const RunResult fp32 = Run({"--nproc_per_node=2", fp8[1]});
  EXPECT_NE(one.figures, fp32.figures);
  EXPECT_NEAR(LastLoss(one), LastLoss(fp32), 0.02 * LastLoss(fp32));
}

TEST_F(LockstepTest, MoreRanksThanPacks) {
  const Flags small = {"--global_batch_size=2", "--tokens_per_pack=4096"};
  const RunResult one = Run({"--nproc_per_node=1", small[0], small[1]});
  ExpectSameWith({"--nproc_per_node=4", small[0], small[1]}, one);
}

// Ranks share the update of the weights, all but what they cannot share evenly.
TEST_F(LockstepTest, FullTrainingWithExactSums) {
  const std::string model = FreshPath("wide"), folder = FreshPath("full");
  WriteTinyModel(model, 1, /*mlp=*/1024);
  const auto run = [&](int ranks) {
    const std::string out = absl::StrCat(folder, ranks);
    const Outcome outcome =
        Train({"--model=" + model, "--train_file=" + input_.documents, "--output_dir=" + out,
               "--train=full", "--gradient_sum=exact", "--max_steps=4", "--eval_steps=2",
               "--validation_split=0.1", "--tokens_per_pack=512", "--max_seq_length=300",
               "--num_threads=1", "--learning_rate=1e-3", "--weight_decay=0.1", "--bucket_cap_mb=1",
               absl::StrCat("--nproc_per_node=", ranks)});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    return ResultIn(out);
  };
  const RunResult one = run(1);
  EXPECT_GT(one.trained.size(), 400'000u);
  for (const int ranks : {2, 3, 8}) {
    SCOPED_TRACE(ranks);
    ExpectSame(run(ranks), one);
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
    return ResultIn(folder);
  };
  const RunResult one = run(1);
  EXPECT_EQ(std::count(one.figures.begin(), one.figures.end(), '\n'), 3);
  ExpectSame(run(3), one);
}

// What the promise rests on can break: floating-point sums depend on who adds what, and the same
// comparison sees it. Such a run says so.
TEST_F(LockstepTest, FloatingPointSumsAreNotInLockstep) {
  const auto run = [&](const Flags& flags, bool in_lockstep) {
    const RunResult result = Run(flags);
    EXPECT_THAT(
        ReadFile(folder_ + "/run.json").value_or(""),
        HasSubstr(absl::StrCat("\"bits_independent_of_ranks\": ", in_lockstep ? "true" : "false")));
    return result;
  };
  const RunResult exact = run({"--nproc_per_node=1"}, true);
  for (const char* sum : {"--gradient_sum=fp32", "--gradient_sum=bf16"}) {
    SCOPED_TRACE(sum);
    const RunResult one = run({"--nproc_per_node=1", sum}, false);
    const RunResult three = run({"--nproc_per_node=3", sum}, false);
    EXPECT_NE(one.trained, three.trained);
    for (const RunResult& result : {one, three}) {
      EXPECT_NEAR(LastLoss(result), LastLoss(exact), 0.01 * LastLoss(exact));
    }
  }
}

}  // namespace
}  // namespace lockstep
