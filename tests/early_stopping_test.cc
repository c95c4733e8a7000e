// --early_stopping_patience: a run ends when its evaluations no longer become better, and leaves
// what was best, on any number of ranks.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "tests/run_result.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"
#include "trainer/report/metrics.h"

namespace lockstep {
namespace {

constexpr int kPatience = 3;

class EarlyStoppingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    WriteUnevenDocuments(others_, 12, 60, /*seed=*/3);  // of nothing that is learned here
  }

  // At a constant rate, so that a shorter run is the beginning of a longer one.
  std::string Run(int ranks, const std::vector<std::string>& more) {
    const std::string folder = FreshPath("run");
    std::vector<std::string> flags = {"--model=" + input_.model,
                                      "--train_file=" + input_.documents,
                                      "--output_dir=" + folder,
                                      "--validation_file=" + others_,
                                      "--global_batch_size=12",
                                      "--eval_steps=1",
                                      "--lr_scheduler_type=constant",
                                      "--learning_rate=3e-3",
                                      "--lora_r=4",
                                      "--num_threads=1",
                                      absl::StrCat("--nproc_per_node=", ranks)};
    flags.insert(flags.end(), more.begin(), more.end());
    const Outcome outcome = Train(flags);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    return folder;
  }

  const TinyInput input_ = MakeTinyInput(12, 60);
  const std::string others_ = FreshPath("others") + ".jsonl";
};

TEST_F(EarlyStoppingTest, TheBestEvaluationsParametersAreTheResult) {
  std::string adapter;
  for (const int ranks : {1, 2}) {
    const std::string folder =
        Run(ranks, {absl::StrCat("--early_stopping_patience=", kPatience), "--max_steps=100",
                    "--save_steps=0", "--save_total_limit=1"});
    const auto history =
        ParseMetrics(ReadFile(folder + "/metrics.jsonl").value_or(""), folder, INT64_MAX);
    ASSERT_TRUE(history.ok()) << history.status();
    const std::vector<EvalRecord>& evals = history->evals;
    size_t best = 0;
    for (size_t i = 0; i < evals.size(); ++i) {
      if (evals[i].eval_loss < evals[best].eval_loss) best = i;
    }
    ASSERT_GT(best, 0u) << "no test: nothing became better at first";
    ASSERT_EQ(evals.size(), best + 1 + kPatience);
    const auto run = nlohmann::json::parse(ReadFile(folder + "/run.json").value_or("{}"));
    EXPECT_EQ(run.at("state"), "early stopped");
    EXPECT_NE(ReadFile(folder + "/logs/rank-0.log")
                  .value_or("")
                  .find(absl::StrCat("evaluations without a better loss: ", kPatience)),
              std::string::npos);
    EXPECT_TRUE(FileExists(
        absl::StrCat(folder, "/checkpoints/", absl::StrFormat("step-%08d", evals[best].step))))
        << "the best checkpoint stays, whatever --save_total_limit";
    if (adapter.empty()) {
      adapter = TrainedIn(folder);
      const std::string short_run = Run(1, {absl::StrCat("--max_steps=", evals[best].step)});
      EXPECT_TRUE(adapter == TrainedIn(short_run)) << "not the parameters of the best evaluation";
    }
    EXPECT_TRUE(TrainedIn(folder) == adapter) << "ranks change the result";
  }
}

// The best checkpoint may lie in the folder of the run that another goes on with.
TEST_F(EarlyStoppingTest, AResumeElsewhereKnowsTheBest) {
  const std::string patience = absl::StrCat("--early_stopping_patience=", kPatience);
  const std::string whole =
      Run(1, {patience, "--max_steps=100", "--save_steps=1", "--save_total_limit=0"});
  const auto state = nlohmann::json::parse(ReadFile(whole + "/run.json").value_or("{}"));
  const std::string last = absl::StrCat(
      whole, "/checkpoints/", absl::StrFormat("step-%08d", state.at("steps_done").get<int>() - 1));
  const std::string resumed = Run(
      2, {patience, "--max_steps=100", "--save_total_limit=1", "--resume_from_checkpoint=" + last});
  EXPECT_TRUE(TrainedIn(resumed) == TrainedIn(whole));
}

}  // namespace
}  // namespace lockstep
