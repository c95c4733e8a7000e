#include "trainer/run_start.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/file.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

const RunIdentity kIdentity = {{"lora_r", "8"}};

TEST(RunStartTest, OtherRanksAreToldAllOfIt) {
  RunStart start;
  start.kind = RunStart::Kind::kResume;
  start.folder = "/runs/größer";
  start.checkpoint = "/runs/größer/checkpoints/step-00000007";
  start.state.step = 7;
  start.state.tokens_per_pack = 4096;
  start.state.identity = kIdentity;
  start.state.evaluation_due = true;
  start.state.best_step = 5;
  start.state.best_eval_loss = 0x1.23456789abcdfp-1;
  start.state.evals_since_best = 2;
  const auto told = DecodeStart(EncodeStart(start));
  ASSERT_TRUE(told.ok()) << told.status();
  EXPECT_EQ(told->kind, start.kind);
  EXPECT_EQ(told->folder, start.folder);
  EXPECT_EQ(told->checkpoint, start.checkpoint);
  EXPECT_EQ(told->state.step, 7);
  EXPECT_EQ(told->state.tokens_per_pack, 4096);
  EXPECT_EQ(told->state.identity, kIdentity);
  EXPECT_TRUE(told->state.evaluation_due);
  EXPECT_EQ(told->state.best_step, 5);
  EXPECT_EQ(told->state.best_eval_loss, start.state.best_eval_loss);
  EXPECT_EQ(told->state.evals_since_best, 2);
  EXPECT_THAT(DecodeStart("{}").status().message(), HasSubstr("rank 0 said"));
}

TEST(RunStartTest, AFolderDecides) {
  const std::string folder = ::testing::TempDir() + "/decides";
  TrainOptions options;
  options.resume_from_checkpoint = "auto";
  const auto decided = [&] { return DecideStart(folder, options, kIdentity, &ReadCheckpoint); };
  EXPECT_EQ(decided()->kind, RunStart::Kind::kNew) << "it is not there";
  ASSERT_TRUE(MakeDirectories(folder).ok());
  EXPECT_EQ(decided()->kind, RunStart::Kind::kNew) << "it is empty";

  // Whatever a run would write over.
  for (const char* name : {"report.html", "tokenizer.json", "vocab.json", "adapter_config.json",
                           "timings.jsonl", "model.safetensors.index.json", "config.json"}) {
    const std::string path = folder + "/" + name;
    ASSERT_TRUE(WriteFileAtomically(path, "{}").ok());
    EXPECT_THAT(decided().status().message(),
                HasSubstr(std::string("holds ") + name + " of something else"));
    ASSERT_EQ(std::remove(path.c_str()), 0);
  }
  ASSERT_TRUE(WriteFileAtomically(folder + "/config.json", "{}").ok());

  const auto write_run = [&](const std::string& state, const std::string& rank) {
    ASSERT_TRUE(WriteFileAtomically(folder + "/run.json", R"({"identity": {"lora_r": ")" + rank +
                                                              R"("}, "state": ")" + state + "\"}")
                    .ok());
  };
  write_run("running", "16");
  EXPECT_THAT(decided().status().message(), HasSubstr("--lora_r was \"16\" and is \"8\""));
  write_run("running", "8");
  EXPECT_EQ(decided()->kind, RunStart::Kind::kNew) << "killed before its first checkpoint";
  ASSERT_TRUE(WriteFileAtomically(folder + "/checkpoints", "").ok());
  EXPECT_THAT(decided().status().message(), HasSubstr("/checkpoints] cannot list"))
      << "whether there are some, nobody knows";
  ASSERT_EQ(std::remove((folder + "/checkpoints").c_str()), 0);
  write_run("done", "8");
  EXPECT_EQ(decided()->kind, RunStart::Kind::kNew) << "its result is gone";
  ASSERT_TRUE(WriteFileAtomically(folder + "/adapter_model.safetensors", "").ok());
  EXPECT_EQ(decided()->kind, RunStart::Kind::kFinished);
  options.resume_from_checkpoint = "none";
  EXPECT_THAT(decided().status().message(), HasSubstr("holds a run already"));
}

// Its tensors are gone: who only looks does not notice, who goes on from it does.
TEST(RunStartTest, TheTensorsOfACheckpointAreReadByWhoGoesOnFromIt) {
  const std::string folder = ::testing::TempDir() + "/goes_on";
  const std::string checkpoint = ::testing::TempDir() + "/other_run/" + CheckpointName(7);
  ASSERT_TRUE(MakeDirectories(checkpoint).ok());
  CheckpointState state;
  state.step = 7;
  state.identity = kIdentity;
  nlohmann::json json = state;
  json["state.safetensors"] = "a hash";
  ASSERT_TRUE(WriteFileAtomically(checkpoint + "/state.json", json.dump()).ok());
  TrainOptions options;
  options.resume_from_checkpoint = checkpoint;
  const auto seen = DecideStart(folder, options, kIdentity, &ReadCheckpointState);
  ASSERT_TRUE(seen.ok()) << seen.status();
  EXPECT_EQ(seen->kind, RunStart::Kind::kResume);
  EXPECT_EQ(seen->state.step, 7);
  EXPECT_THAT(DecideStart(folder, options, kIdentity, &ReadCheckpoint).status().message(),
              HasSubstr("not a whole checkpoint"));
}

// Early stopping wants the best one, too: at once, not at the end of training.
TEST(RunStartTest, ACheckpointWithoutItsBestOneIsRefused) {
  const std::string folder = ::testing::TempDir() + "/without_best";
  const std::string best = folder + "/" + CheckpointName(5);
  CheckpointState state;
  state.step = 7;
  state.best_step = 5;
  state.identity = kIdentity;
  nlohmann::json json = state;
  json["state.safetensors"] = "a hash";
  TrainOptions options;
  options.resume_from_checkpoint = folder + "/" + CheckpointName(7);
  ASSERT_TRUE(MakeDirectories(options.resume_from_checkpoint).ok());
  ASSERT_TRUE(
      WriteFileAtomically(options.resume_from_checkpoint + "/state.json", json.dump()).ok());
  const auto decided = [&] {
    return DecideStart(folder + "/new", options, kIdentity, &ReadCheckpointState);
  };
  EXPECT_TRUE(decided().ok());
  options.early_stopping_patience = 3;
  EXPECT_THAT(decided().status().message(), HasSubstr("its best evaluation was after step 5"));
  ASSERT_TRUE(MakeDirectories(best).ok());
  EXPECT_TRUE(decided().ok());
}

}  // namespace
}  // namespace lockstep
