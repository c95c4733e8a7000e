// A run that is asked to stop in an evaluation stops there, on all ranks, and goes on with it: it
// ends with the same figures and bytes as one that nothing happened to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "tests/run_result.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;
using Flags = std::vector<std::string>;

class StopInEvaluationTest : public ::testing::Test {
 protected:
  // Steps are nothing beside evaluations of `validation`.
  Flags FlagsFor(const std::string& folder, const std::string& validation) const {
    return {"--model=" + input_.model, "--train_file=" + input_.documents,
            "--output_dir=" + folder,  "--validation_file=" + validation,
            "--max_steps=4",           "--eval_steps=2",
            "--learning_rate=1e-2",    "--lora_r=4",
            "--tokens_per_pack=512",   "--num_threads=1"};
  }

  static std::string LongValidation() {
    static const std::string path = [] {
      const std::string fresh = FreshPath("long") + ".jsonl";
      WriteUnevenDocuments(fresh, 6000, 300, /*seed=*/3);
      return fresh;
    }();
    return path;
  }

  static RunResult WholeRun(const Flags& flags) {
    Flags whole = flags;
    const std::string folder = FreshPath("whole");
    whole.push_back("--output_dir=" + folder);
    EXPECT_EQ(Train(whole).exit_code, 0);
    return ResultIn(folder);
  }

  const TinyInput input_ = MakeTinyInput(12, 60);
};

TEST_F(StopInEvaluationTest, ItIsObeyedThereAndTheRunGoesOnWithIt) {
  const std::string folder = FreshPath("stopped");
  Flags flags = FlagsFor(folder, LongValidation());
  flags.push_back("--nproc_per_node=2");
  struct Case {
    int step;
    std::string file, words;  // what tells that the evaluation after `step` comes or has begun
  };
  for (const auto& [step, file, words] : {Case{0, "/run.json", "running"},
                                          {2, "/metrics.jsonl", "{\"step\":2,\"epoch\""},
                                          {4, "/metrics.jsonl", "{\"step\":4,\"epoch\""}}) {
    SCOPED_TRACE(step);
    TrainerProcess trainer(flags);
    ASSERT_TRUE(WaitForWords(folder + file, words, 100));
    trainer.SignalAll(SIGINT);
    const Outcome outcome = trainer.Wait();
    ASSERT_EQ(outcome.exit_code, 130) << outcome.out << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr(absl::StrCat("interrupted after step ", step, ";")));
    EXPECT_FALSE(WaitForWords(folder + "/metrics.jsonl",
                              absl::StrCat("{\"step\":", step, ",\"eval_loss\""), 0));
  }
  flags.back() = "--nproc_per_node=3";
  const Outcome outcome = Train(flags);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("goes on after step 4"));
  ExpectSame(ResultIn(folder), WholeRun(flags));
}

// A launcher's signal need not reach every rank at once, or at all.
TEST_F(StopInEvaluationTest, OneRankThatIsAskedIsEnough) {
  const std::string folder = FreshPath("stopped");
  const int port = FreshPort();
  std::vector<std::unique_ptr<TrainerProcess>> ranks;
  for (int rank = 0; rank < 2; ++rank) {
    ranks.push_back(std::make_unique<TrainerProcess>(
        FlagsFor(folder, LongValidation()), "/dev/null", TorchrunVariables(rank, 2, port)));
  }
  ASSERT_TRUE(WaitForWords(folder + "/metrics.jsonl", "{\"step\":2,\"epoch\"", 100));
  ranks[1]->Signal(SIGTERM);
  for (const auto& rank : ranks) {
    const Outcome outcome = rank->Wait();
    EXPECT_EQ(outcome.exit_code, 143) << outcome.out << outcome.err;
  }
  EXPECT_FALSE(WaitForWords(folder + "/metrics.jsonl", "{\"step\":2,\"eval_loss\"", 0));
  EXPECT_TRUE(FileExists(folder + "/checkpoints/step-00000002/state.json"));
}

// Early stopping saves a checkpoint before the first step, after an evaluation: it is not repeated.
TEST_F(StopInEvaluationTest, AnEvaluationThatIsOverIsNotRepeated) {
  const std::string folder = FreshPath("early"), validation = FreshPath("short") + ".jsonl";
  WriteUnevenDocuments(validation, 12, 60, /*seed=*/3);
  Flags flags = FlagsFor(folder, validation);
  flags.push_back("--early_stopping_patience=1");
  flags.push_back("--nproc_per_node=1");
  ASSERT_EQ(Train(flags).exit_code, 0);
  const RunResult want = ResultIn(folder);
  // As it would be, had the run been killed before its next checkpoint.
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/checkpoints")) {
    if (entry.path().filename() != "step-00000000") std::filesystem::remove_all(entry.path());
  }
  std::filesystem::remove(folder + "/adapter_model.safetensors");
  const Outcome outcome = Train(flags);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("goes on after step 0"));
  ExpectSame(ResultIn(folder), want);
}

}  // namespace
}  // namespace lockstep
