// The first command of the README: without flags, the trainer teaches its example.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/hash.h"
#include "tests/trainer_process.h"
#include "trainer/report/metrics.h"

namespace lockstep {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ExampleTest, HalvesTheValidationLossAndSaysWhatItLearned) {
  const std::string home = FreshPath("home");
  ASSERT_TRUE(MakeDirectories(home).ok());
  setenv("BUILD_WORKING_DIRECTORY", home.c_str(), 1);
  const Outcome outcome = Train({});
  unsetenv("BUILD_WORKING_DIRECTORY");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("before:"));
  EXPECT_THAT(outcome.out, HasSubstr("after:  ORDER FOR "));
  const size_t said = outcome.out.find("the first step ended");
  EXPECT_NE(said, std::string::npos);
  EXPECT_EQ(outcome.out.find("the first step ended", said + 1), std::string::npos) << "said once";

  std::string folder;
  for (const auto& entry : std::filesystem::directory_iterator(home + "/runs")) {
    EXPECT_TRUE(folder.empty()) << "one run, one folder";
    folder = entry.path();
  }
  for (const char* name : {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json",
                           "metrics.jsonl", "report.html", "run.json", "run.flags"}) {
    EXPECT_TRUE(FileExists(folder + "/" + name)) << name;
  }
  const auto history =
      ParseMetrics(ReadFile(folder + "/metrics.jsonl").value_or(""), folder, INT64_MAX);
  ASSERT_TRUE(history.ok()) << history.status();
  ASSERT_GE(history->evals.size(), 2u);
  EXPECT_LT(history->evals.back().eval_loss, 0.5 * history->evals.front().eval_loss);
}

// The memory plan, made before weights are loaded, is what the run then takes.
void ExpectPlanned(std::vector<std::string> flags) {
  const std::string folder = FreshPath("planned");
  flags.insert(flags.end(), {"--save_steps=1", "--output_dir=" + folder});
  const Outcome outcome = Train(flags);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto run = nlohmann::json::parse(ReadFile(folder + "/run.json").value_or("{}"));
  const auto& memory = run.at("memory");
  EXPECT_EQ(memory.at("gradient_checkpointing"), "none");
  const double planned = memory.at("planned_bytes"), peak = memory.at("peak_bytes");
  EXPECT_GT(peak, 0.98 * planned);
  EXPECT_LE(peak, planned);
}

TEST(ExampleTest, SaysHowEachRankHasWork) {
  EXPECT_THAT(Train({"--dry_run"}).out, AllOf(HasSubstr("packs a step"), Not(HasSubstr("HINT"))));
  const std::string hint = "steps have fewer packs than there are ranks; --global_batch_size=";
  EXPECT_THAT(Train({"--dry_run", "--nproc_per_node=2"}).out, HasSubstr(hint + "53 "));
  const std::vector<std::string> nodes = {"--dry_run", "--nnodes=2", "--node_rank=0",
                                          "--master_addr=10.0.0.1"};
  EXPECT_THAT(Train(nodes).out, HasSubstr(hint + "53 "));
  EXPECT_THAT(Train({"--dry_run", "--nproc_per_node=2", "--global_batch_size=53"}).out,
              Not(HasSubstr("HINT")));
}

TEST(ExampleTest, TakesTheMemoryThatWasPlanned) {
  for (const char* train : {"lora", "full"}) {
    for (const char* batch : {"1", "16"}) {
      SCOPED_TRACE(absl::StrCat(train, ", documents a step: ", batch));
      ExpectPlanned({absl::StrCat("--train=", train), absl::StrCat("--global_batch_size=", batch),
                     "--max_steps=3"});
    }
  }
}

// Steps of some 2,048 tokens: one pack of 128 documents, or two of half as many.
TEST(ExampleTest, PacksOfManyDocumentsAreInThePlan) {
  std::string text;
  for (int i = 0; i < 2000; ++i) {
    const std::vector<int> ids(5 + MixKeys(3, i) % 23, 7 + i % 50);
    absl::StrAppend(&text, "{\"input_ids\":[", absl::StrJoin(ids, ","), "]}\n");
  }
  const std::string documents = FreshPath("documents") + ".jsonl";
  ASSERT_TRUE(WriteFileAtomically(documents, text).ok());
  ExpectPlanned({"--train_file=" + documents, "--global_batch_size=128", "--tokens_per_pack=4096",
                 "--max_steps=12", "--validation_split=0", "--seed=1"});
}

TEST(ExampleTest, ItsSamplesHaveDifferentPrompts) {
  const std::string documents = FreshPath("documents") + ".jsonl";
  const std::string paul = R"({"prompt":"Paul would like","completion":" an egg."})";
  ASSERT_TRUE(WriteFileAtomically(documents, absl::StrCat(paul, "\n", paul, "\n", R"({"prompt":)",
                                                          R"("Emma would","completion":" go."})"))
                  .ok());
  const Outcome outcome = Train({"--train_file=" + documents, "--output_dir=" + FreshPath("run")});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("note: --model is not given"));
  EXPECT_THAT(outcome.out, HasSubstr("\n> Paul"));
  EXPECT_THAT(outcome.out, HasSubstr("\n> Emma"));
}

// As far as with weights in fp32: validation loss 7.25 before, 0.09 after.
TEST(ExampleTest, LearnsWithLinearLayersInFp8) {
  const std::string folder = FreshPath("fp8");
  const Outcome outcome = Train({"--base_dtype=fp8", "--output_dir=" + folder});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
  const auto history =
      ParseMetrics(ReadFile(folder + "/metrics.jsonl").value_or(""), folder, INT64_MAX);
  ASSERT_TRUE(history.ok()) << history.status();
  EXPECT_GT(history->evals.front().eval_loss, 5);
  EXPECT_LT(history->evals.back().eval_loss, 0.15);
}

// The samples are for people to look at: a model that cannot speak is written all the same.
TEST(ExampleTest, AModelThatCannotSpeakIsWritten) {
  const std::string folder = FreshPath("mute");
  const Outcome outcome = Train(
      {"--learning_rate=1e30", "--on_nonfinite=skip", "--max_steps=3", "--output_dir=" + folder});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("after:  ([generate] the logit of token 0 is not a number"));
  EXPECT_TRUE(FileExists(folder + "/adapter_model.safetensors"));
}

}  // namespace
}  // namespace lockstep
