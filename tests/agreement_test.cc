// Before step one all ranks prove that they are about to do the same; what differs is named. Ranks
// are started one by one, as a launcher does, so that each can have something of its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Flags = std::vector<std::string>;

class AgreementTest : public ::testing::Test {
 protected:
  // Two ranks, of which the second one has `more` flags (the last one given holds) or is another
  // program.
  std::vector<Outcome> Start(const Flags& more, const std::string& program = "trainer/train") {
    folder_ = FreshPath("run");
    return StartAgain(more, program);
  }

  // In the same folder.
  std::vector<Outcome> StartAgain(const Flags& more, const std::string& program = "trainer/train") {
    const int port = FreshPort();
    std::vector<std::unique_ptr<TrainerProcess>> ranks;
    for (int rank = 0; rank < 2; ++rank) {
      Flags flags = {"--model=" + input_.model, "--train_file=" + input_.documents,
                     "--output_dir=" + folder_, "--max_steps=2", "--num_threads=1"};
      if (rank == 1) flags.insert(flags.end(), more.begin(), more.end());
      ranks.push_back(std::make_unique<TrainerProcess>(flags, "/dev/null",
                                                       TorchrunVariables(rank, 2, port),
                                                       rank == 1 ? program : "trainer/train"));
    }
    std::vector<Outcome> outcomes;
    for (const auto& rank : ranks) outcomes.push_back(rank->Wait());
    return outcomes;
  }

  // Both ranks name it, nothing else, and nothing has begun.
  void ExpectNamed(const std::vector<Outcome>& outcomes, const std::string& what) {
    for (const Outcome& outcome : outcomes) {
      EXPECT_EQ(outcome.exit_code, 1) << outcome.out << outcome.err;
      EXPECT_THAT(outcome.err, HasSubstr(what));
      EXPECT_THAT(outcome.err, HasSubstr("HINT"));
    }
    EXPECT_FALSE(FileExists(folder_));
  }

  const TinyInput input_ = MakeTinyInput(40, 100);
  std::string folder_;
};

TEST_F(AgreementTest, AFinishedRunSaysSoOnce) {
  for (const Outcome& outcome : Start({})) ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::vector<Outcome> again = StartAgain({});
  for (const Outcome& outcome : again) EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(again[0].out, folder_ + " holds this run, finished; nothing is done\n");
  EXPECT_EQ(again[1].out, "");
}

TEST_F(AgreementTest, EqualRanksTrain) {
  for (const Outcome& outcome : Start({})) EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::string run = ReadFile(folder_ + "/run.json").value_or("");
  EXPECT_THAT(run, HasSubstr("\"provenance\""));
  EXPECT_THAT(run, HasSubstr("\"rank\": 1"));
}

TEST_F(AgreementTest, AnotherOption) {
  const auto outcomes = Start({"--learning_rate=0.5"});
  ExpectNamed(outcomes, "--learning_rate: rank 0 has 2e-04, rank 1 has 0.5");
  EXPECT_THAT(outcomes[0].err, Not(HasSubstr("step plan")));
}

TEST_F(AgreementTest, AnotherOptionThatChangesNoBitButTheCollectives) {
  ExpectNamed(Start({"--eval_steps=1"}), "--eval_steps: rank 0 has 100, rank 1 has 1");
}

TEST_F(AgreementTest, OtherData) {
  const std::string other = FreshPath("other") + ".jsonl";
  WriteUnevenDocuments(other, 41, 100);
  ExpectNamed(Start({"--train_file=" + other}), "content of --train_file: rank 0 has ");
}

TEST_F(AgreementTest, AnotherModel) {
  const std::string other = FreshPath("other_model");
  WriteTinyModel(other);
  const std::string config = *ReadFile(other + "/config.json");
  ASSERT_TRUE(WriteFileAtomically(other + "/config.json", config + " ").ok());
  ExpectNamed(Start({"--model=" + other}), "content of --model: rank 0 has ");
}

TEST_F(AgreementTest, AnotherPlan) {
  const auto outcomes = Start({"--tokens_per_pack=1111"});
  ExpectNamed(outcomes, "step plan: rank 0 has ");
  EXPECT_THAT(outcomes[1].err, HasSubstr("rank 1 has 1111"));
}

TEST_F(AgreementTest, AnotherProgram) {
  const std::string other = FreshPath("train");
  const std::string bytes = *ReadFile("trainer/train");
  ASSERT_TRUE(WriteFileAtomically(other, bytes + "x").ok());
  ASSERT_EQ(chmod(other.c_str(), 0755), 0);
  ExpectNamed(Start({}, other), "program: rank 0 has ");
}

}  // namespace
}  // namespace lockstep
