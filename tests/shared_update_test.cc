// Training of all weights, whose update the ranks share: what happens around its steps gives the
// same bytes on any number of ranks.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/file.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/report/metrics.h"

namespace lockstep {
namespace {

using Flags = std::vector<std::string>;

constexpr int kOddToken = 96;  // in no other document

class SharedUpdateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    WriteTinyModel(model_, 1, /*mlp=*/1024);
    WriteUnevenDocuments(documents_, 60, 200, /*seed=*/2, /*vocab=*/kOddToken);
  }

  Flags FlagsFor(const std::string& folder, int ranks, const Flags& more) const {
    Flags flags = {"--model=" + model_,
                   "--train_file=" + documents_,
                   "--output_dir=" + folder,
                   "--train=full",
                   "--gradient_sum=exact",
                   "--bucket_cap_mb=0.1",
                   "--global_batch_size=12",
                   "--tokens_per_pack=256",
                   "--max_steps=6",
                   "--validation_split=0.1",
                   "--eval_steps=1",
                   "--lr_scheduler_type=constant",
                   "--learning_rate=1e-3",
                   "--num_threads=1",
                   absl::StrCat("--nproc_per_node=", ranks)};
    flags.insert(flags.end(), more.begin(), more.end());
    return flags;
  }

  struct Result {
    std::string weights;              // bytes
    std::vector<std::string> losses;  // of steps, then of evaluations
    std::string out;
  };
  static Result ReadResult(const std::string& folder, const Outcome& outcome) {
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    const auto history =
        ParseMetrics(ReadFile(folder + "/metrics.jsonl").value_or(""), folder, INT64_MAX);
    EXPECT_TRUE(history.ok()) << history.status();
    Result result = {ReadFile(folder + "/model.safetensors").value_or(""), {}, outcome.out};
    const auto add = [&](double loss) {
      result.losses.push_back(absl::StrFormat("%.17g", loss));  // NaN equals NaN
    };
    for (const StepRecord& step : history->steps) add(step.loss);
    for (const EvalRecord& eval : history->evals) add(eval.eval_loss);
    EXPECT_GT(result.weights.size(), 400'000u);
    return result;
  }
  Result Run(int ranks, const Flags& more = {}) const {
    const std::string folder = FreshPath("run");
    return ReadResult(folder, Train(FlagsFor(folder, ranks, more)));
  }
  static void ExpectSame(const Result& got, const Result& want) {
    EXPECT_EQ(got.losses, want.losses);
    EXPECT_TRUE(got.weights == want.weights) << "the weights differ";
  }

  const std::string model_ = FreshPath("model"), documents_ = FreshPath("documents") + ".jsonl";
};

// Ranks without a pack read no weight in a step, but have theirs updated.
TEST_F(SharedUpdateTest, MoreRanksThanPacks) {
  const Flags small = {"--global_batch_size=2", "--tokens_per_pack=4096"};
  const Result one = Run(1, small);
  for (const int ranks : {2, 5}) ExpectSame(Run(ranks, small), one);
}

TEST_F(SharedUpdateTest, LayersComputedAgain) {
  ExpectSame(Run(3, {"--gradient_checkpointing=layer"}), Run(1));
}

TEST_F(SharedUpdateTest, ASkippedStepChangesNothing) {
  const std::string odd = absl::StrCat("{\"input_ids\":[5,", kOddToken, ",7,8]}\n");
  CHECK(WriteFileAtomically(documents_, *ReadFile(documents_) + odd).ok());
  SetWeights(model_, "model.embed_tokens.weight", kOddToken, NAN);
  const Flags skip = {"--on_nonfinite=skip", "--validation_split=0", "--eval_steps=0"};
  const Result one = Run(1, skip), three = Run(3, skip);
  ExpectSame(three, one);
  EXPECT_TRUE(absl::StrContains(three.out, "is left out")) << three.out;
  EXPECT_EQ(std::count(three.losses.begin(), three.losses.end(), "nan"), 1);
}

TEST_F(SharedUpdateTest, TheBestEvaluationsWeightsAreTheResult) {
  const Flags stop = {"--early_stopping_patience=2", "--max_steps=60", "--learning_rate=2e-2",
                      "--save_steps=0"};
  const Result one = Run(1, stop), two = Run(2, stop);
  ExpectSame(two, one);
  EXPECT_TRUE(absl::StrContains(one.out, "the best evaluation was after step")) << one.out;
}

TEST_F(SharedUpdateTest, InterruptedItGoesOnOnAnotherNumberOfRanks) {
  const Flags longer = {"--max_steps=40", "--save_steps=2"};
  const Result whole = Run(1, longer);
  const std::string folder = FreshPath("interrupted");
  TrainerProcess trainer(FlagsFor(folder, 3, longer));
  ASSERT_TRUE(WaitForFile(folder + "/checkpoints/" + CheckpointName(2), 60));
  trainer.SignalAll(SIGTERM);
  const Outcome stopped = trainer.Wait();
  ASSERT_EQ(stopped.exit_code, 143) << stopped.out << stopped.err;
  EXPECT_TRUE(absl::StrContains(stopped.out, "interrupted after step")) << stopped.out;
  ExpectSame(ReadResult(folder, Train(FlagsFor(folder, 2, longer))), whole);
}

}  // namespace
}  // namespace lockstep
