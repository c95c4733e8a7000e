#include "trainer/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <filesystem>

#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/testing.h"
#include "tensor/allocator.h"

namespace lockstep {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

class CheckpointTest : public ::testing::Test {
 protected:
  nn::FlatParameters Parameters(std::vector<nn::ParameterSpec> specs) {
    return nn::FlatParameters(context_, std::move(specs), {});
  }
  static std::vector<nn::ParameterSpec> Specs() {
    return {{"layer.0.lora_A", {3, 5}}, {"layer.0.lora_B", {7, 3}}};
  }
  static void FillPart(const Tensor& part, float start) {
    float* values = part.Mutable("test").as<float>();
    for (int64_t i = 0; i < part.numel(); ++i) values[i] = start + 0.1f * static_cast<float>(i);
  }
  static std::vector<float> Values(const Tensor& part) {
    const float* values = part.view().as<float>();
    return std::vector<float>(values, values + part.numel());
  }

  absl::Status Write(const CheckpointState& state, const nn::FlatParameters& parameters,
                     const Tensor& memory = Tensor()) const {
    ParameterCopy copy(context_, parameters, memory);
    copy.Reserve();
    copy.Begin();
    return WriteCheckpoint(folder_, state, copy);
  }

  const std::string folder_ = FreshFolder();
  CpuAllocator allocator_;
  const Context context_{Stream{allocator_.device()}, &allocator_};
};

TEST_F(CheckpointTest, GoesByNameNotByOffset) {
  nn::FlatParameters saved = Parameters(Specs());
  FillPart(saved.Part(saved.values(), 0), 1);
  FillPart(saved.Part(saved.exp_avg(), 1), 2);
  FillPart(saved.Part(saved.exp_avg_sq(), 1), 3);
  CheckpointState state;
  state.step = 12;
  state.tokens_per_pack = 640;
  state.identity = {{"lora_r", "3"}};
  ASSERT_TRUE(Write(state, saved).ok());

  const std::vector<std::string> found = *ListCheckpoints(folder_);
  ASSERT_THAT(found, ElementsAre(EndsWith("/step-00000012")));
  const auto read = ReadCheckpoint(found[0]);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->step, 12);
  EXPECT_EQ(read->tokens_per_pack, 640);
  EXPECT_EQ(read->identity, state.identity);

  nn::FlatParameters other = Parameters({Specs()[1], Specs()[0]});  // another order
  ASSERT_TRUE(RestoreParameters(context_, found[0], &other).ok());
  EXPECT_EQ(Values(other.Part(other.values(), 1)), Values(saved.Part(saved.values(), 0)));
  EXPECT_EQ(Values(other.Part(other.exp_avg(), 0)), Values(saved.Part(saved.exp_avg(), 1)));
  EXPECT_EQ(Values(other.Part(other.exp_avg_sq(), 0)), Values(saved.Part(saved.exp_avg_sq(), 1)));
}

// In pieces, of which the largest tensor has two, the smallest a part of one.
TEST_F(CheckpointTest, ACopyInTheDevicesMemoryGivesTheSameBytes) {
  nn::FlatParameters parameters = Parameters({{"small", {5}}, {"large", {3, 1'000'000}}});
  float start = 0;
  for (const Tensor& buffer : parameters.state()) {
    FillPart(parameters.Part(buffer, 0), start += 1);
    FillPart(parameters.Part(buffer, 1), start += 1);
  }
  const auto written = [&](int64_t step, const Tensor& memory) {
    CheckpointState state;
    state.step = step;
    EXPECT_TRUE(Write(state, parameters, memory).ok());
    EXPECT_TRUE(ReadCheckpoint(JoinPath(folder_, CheckpointName(step))).ok());
    return *ReadFile(JoinPath(folder_, CheckpointName(step) + "/state.safetensors"));
  };
  const Tensor memory = Tensor::Empty(*context_.allocator, DType::kF32, {3, parameters.numel()});
  EXPECT_TRUE(written(1, Tensor()) == written(2, memory));
}

TEST_F(CheckpointTest, DamageIsNoticed) {
  const nn::FlatParameters parameters = Parameters(Specs());
  CheckpointState state;
  state.step = 1;
  ASSERT_TRUE(Write(state, parameters).ok());
  const std::string path = ListCheckpoints(folder_)->at(0) + "/state.safetensors";
  std::string bytes = *ReadFile(path);
  bytes[bytes.size() - 3] ^= 4;
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  EXPECT_THAT(ReadCheckpoint(ListCheckpoints(folder_)->at(0)).status().message(),
              HasSubstr("not a whole checkpoint"));
}

TEST_F(CheckpointTest, AStepThatIsNoneIsDamage) {
  CheckpointState state;
  state.step = 4321;
  ASSERT_TRUE(Write(state, Parameters(Specs())).ok());
  const std::string checkpoint = ListCheckpoints(folder_)->at(0);
  const std::string path = checkpoint + "/state.json";
  const std::string text = *ReadFile(path);
  for (const char* step : {"-1", "9223372036854775807"}) {
    ASSERT_TRUE(WriteFileAtomically(path, absl::StrReplaceAll(text, {{"4321", step}})).ok());
    EXPECT_THAT(ReadCheckpoint(checkpoint).status().message(), HasSubstr(step));
  }
  ASSERT_TRUE(WriteFileAtomically(path, text).ok());
  EXPECT_TRUE(ReadCheckpoint(checkpoint).ok());
}

TEST_F(CheckpointTest, ADamagedOneIsWrittenAnewAWholeOneIsLeftAlone) {
  const nn::FlatParameters parameters = Parameters(Specs());
  CheckpointState state;
  state.step = 1;
  ASSERT_TRUE(Write(state, parameters).ok());
  const std::string checkpoint = ListCheckpoints(folder_)->at(0);
  const std::string path = checkpoint + "/state.safetensors";
  const std::string whole = *ReadFile(path);
  ASSERT_TRUE(WriteFileAtomically(path, "no tensors").ok());
  ASSERT_TRUE(Write(state, parameters).ok());
  EXPECT_TRUE(ReadCheckpoint(checkpoint).ok());
  EXPECT_EQ(*ReadFile(path), whole);
  const auto before = std::filesystem::last_write_time(checkpoint);
  ASSERT_TRUE(Write(state, parameters).ok());
  EXPECT_EQ(std::filesystem::last_write_time(checkpoint), before);
  // As where somebody has moved it to another disk, and then away.
  std::filesystem::remove_all(checkpoint);
  std::filesystem::create_symlink("gone", checkpoint);
  ASSERT_TRUE(Write(state, parameters).ok());
  EXPECT_TRUE(ReadCheckpoint(checkpoint).ok());
}

TEST_F(CheckpointTest, AFolderThatIsGoneIsSaid) {
  std::filesystem::remove_all(folder_);
  const nn::FlatParameters parameters = Parameters(Specs());
  EXPECT_THAT(Write({}, parameters).message(), HasSubstr("the folder is gone"));
  EXPECT_FALSE(FileExists(folder_));
}

// A disk that fills up, by the limit of what this process may write to a file.
TEST_F(CheckpointTest, WhatDoesNotFitLeavesNothingBehind) {
  const nn::FlatParameters parameters = Parameters({{"layer.0.lora_A", {100, 100}}});
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small = {10'000, before.rlim_max};
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = Write({}, parameters);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, handler);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("cannot write"), HasSubstr("HINT: make room")));
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  EXPECT_TRUE(Write({}, parameters).ok());
}

TEST_F(CheckpointTest, AnotherModelsParametersAreNamed) {
  const nn::FlatParameters saved = Parameters(Specs());
  CheckpointState state;
  ASSERT_TRUE(Write(state, saved).ok());
  nn::FlatParameters wider = Parameters({{"layer.0.lora_A", {4, 5}}});
  EXPECT_THAT(RestoreParameters(context_, ListCheckpoints(folder_)->at(0), &wider).message(),
              HasSubstr("layer.0.lora_A has another shape"));
  nn::FlatParameters more = Parameters({{"layer.1.lora_A", {3, 5}}});
  EXPECT_THAT(RestoreParameters(context_, ListCheckpoints(folder_)->at(0), &more).message(),
              HasSubstr("no tensor values.layer.1.lora_A"));
}

TEST_F(CheckpointTest, RotationKeepsTheNewestAndTheBest) {
  const nn::FlatParameters parameters = Parameters(Specs());
  for (int step = 1; step <= 5; ++step) {
    CheckpointState state;
    state.step = step;
    ASSERT_TRUE(Write(state, parameters).ok());
  }
  ASSERT_TRUE(MakeDirectories(folder_ + "/.unfinished-step-00000006-123").ok());
  ASSERT_TRUE(RotateCheckpoints(folder_, 2, 1).ok());
  EXPECT_THAT(
      *ListCheckpoints(folder_),
      ElementsAre(EndsWith("step-00000001"), EndsWith("step-00000004"), EndsWith("step-00000005")));
  EXPECT_FALSE(FileExists(folder_ + "/.unfinished-step-00000006-123"));
}

TEST(CompareRunsTest, NamesWhatDiffers) {
  const RunIdentity stored = {{"lora_r", "16"}, {"seed", "1"}, {"content of --model", "aa"}};
  EXPECT_TRUE(CompareRuns("run", stored, stored).ok());
  const RunIdentity now = {{"lora_r", "8"}, {"seed", "1"}, {"content of --model", "bb"}};
  const absl::Status status = CompareRuns("run", stored, now);
  EXPECT_THAT(status.message(), HasSubstr("--lora_r was \"16\" and is \"8\""));
  // Only with early stopping does --eval_steps decide the result.
  const RunIdentity early = {{"early_stopping_patience", "2"}, {"eval_steps", "10"}};
  EXPECT_THAT(CompareRuns("run", {{"early_stopping_patience", ""}}, early).message(),
              HasSubstr("--early_stopping_patience was not given and is \"2\"; "
                        "--eval_steps was without effect and is \"10\""));
  EXPECT_THAT(status.message(), HasSubstr("content of --model is another"));
  EXPECT_THAT(status.message(), ::testing::Not(HasSubstr("seed")));
}

}  // namespace
}  // namespace lockstep
