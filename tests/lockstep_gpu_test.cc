// The trainer on all GPUs of this machine, at least two, or on some ranks that share them
// (dist/shared_gpus.h): the same bits as on one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "dist/testing.h"
#include "tensor/kernels/fp8_gemm.h"
#include "tensor/runtime.h"
#include "tests/run_result.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;
using Flags = std::vector<std::string>;

class LockstepGpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (dist::MostGpuRanks() < 2) GTEST_SKIP() << "needs 2 GPUs, got " << CudaDeviceCount();
  }

  Flags FlagsFor(const Flags& more) {
    folder_ = FreshPath("run");
    Flags flags = {"--model=" + input_.model,
                   "--train_file=" + input_.documents,
                   "--output_dir=" + folder_,
                   "--validation_split=0.1",
                   "--global_batch_size=37",
                   "--max_steps=8",
                   "--eval_steps=4",
                   "--tokens_per_pack=512",
                   "--max_seq_length=300",
                   "--learning_rate=1e-2",
                   "--lora_r=8",
                   "--lora_dropout=0.1",
                   "--device=cuda"};
    flags.insert(flags.end(), more.begin(), more.end());
    return flags;
  }

  RunResult Run(const Flags& more) {
    const Outcome outcome = Train(FlagsFor(more));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    return ResultIn(folder_);
  }

  std::string RunJson() const { return ReadFile(folder_ + "/run.json").value_or(""); }

  // Of every weight, whose update the ranks share; what products read of them is bf16.
  std::pair<std::string, std::string> RunFull(const std::string& model, int ranks) {
    folder_ = FreshPath("run");
    const Outcome outcome = Train(
        {"--model=" + model, "--train_file=" + input_.documents, "--output_dir=" + folder_,
         "--train=full", "--gradient_sum=exact", "--validation_split=0", "--max_steps=6",
         "--save_steps=3", "--tokens_per_pack=512", "--max_seq_length=300", "--learning_rate=1e-3",
         "--bucket_cap_mb=1", "--device=cuda", absl::StrCat("--nproc_per_node=", ranks)});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    return {TrainedIn(folder_),
            ReadFile(folder_ + "/checkpoints/step-00000003/state.safetensors").value_or("")};
  }

  const TinyInput input_ = MakeTinyInput(150, 300, /*mlp=*/64);
  std::string folder_;  // of the last run
};

TEST_F(LockstepGpuTest, AnyNumberOfGpusGivesTheSameBits) {
  const RunResult one = Run({"--nproc_per_node=1"});
  const std::string run_json = RunJson();
  EXPECT_GT(one.trained.size(), 1000u);
  EXPECT_THAT(run_json, HasSubstr("\"bits_independent_of_ranks\": true"));
  for (const char* what : {"gpus", "cuda", "cublasLt", "cudnn", "nvidia driver", "program"}) {
    EXPECT_THAT(run_json, HasSubstr(absl::StrCat("\"", what, "\": ")));
  }
  for (int ranks = 2; ranks <= dist::MostGpuRanks(); ++ranks) {
    for (const char* cap : {"--bucket_cap_mb=25", "--bucket_cap_mb=0.005"}) {
      SCOPED_TRACE(absl::StrCat(ranks, " ", cap));
      ExpectSame(Run({absl::StrCat("--nproc_per_node=", ranks), cap, "--verify"}), one);
    }
  }
}

TEST_F(LockstepGpuTest, AlsoWithLinearLayersInFp8) {
  if (!kernels::HasFp8Gemm({DeviceType::kCUDA, 0})) GTEST_SKIP() << "needs Hopper GPUs";
  const RunResult one = Run({"--nproc_per_node=1", "--base_dtype=fp8"});
  EXPECT_NE(one.figures, Run({"--nproc_per_node=1"}).figures) << "FP8 changes nothing";
  for (const char* flag : {"--verify", "--gradient_checkpointing=layer"}) {
    SCOPED_TRACE(flag);
    ExpectSame(Run({"--nproc_per_node=2", "--base_dtype=fp8", flag}), one);
  }
}

TEST_F(LockstepGpuTest, FullTrainingToo) {
  const std::string model = FreshPath("wide");
  WriteTinyModel(model, 1, /*mlp=*/1024);
  const auto one = RunFull(model, 1);
  EXPECT_GT(one.first.size(), 400'000u);
  EXPECT_GT(one.second.size(), 1'000'000u);
  for (int ranks = 2; ranks <= dist::MostGpuRanks(); ++ranks) {
    const auto several = RunFull(model, ranks);
    EXPECT_TRUE(several.first == one.first) << ranks << ": the weights differ";
    EXPECT_TRUE(several.second == one.second) << ranks << ": the checkpoints differ";
  }
}

TEST_F(LockstepGpuTest, OtherSumsTrainTooAndSaySo) {
  for (const char* sum : {"--gradient_sum=fp32", "--gradient_sum=bf16"}) {
    EXPECT_GT(Run({"--nproc_per_node=2", sum}).trained.size(), 1000u) << sum;
    EXPECT_THAT(RunJson(), HasSubstr("\"bits_independent_of_ranks\": false"));
  }
}

TEST(MoreRanksThanGpusTest, AreRefusedWhereTheUserDoesNotAllowIt) {
  const int gpus = CudaDeviceCount();
  if (gpus == 0) GTEST_SKIP() << "no GPU here";
  const TinyInput input = MakeTinyInput(20, 100);
  const std::string folder = FreshPath("run");
  const Outcome outcome =
      TrainerProcess(
          {"--model=" + input.model, "--train_file=" + input.documents, "--output_dir=" + folder,
           "--device=cuda", absl::StrCat("--nproc_per_node=", gpus + 1)},
          "/dev/null", {{"NCCL_MULTI_RANK_GPU_ENABLE", "0"}})
          .Wait();
  EXPECT_EQ(outcome.exit_code, 1) << outcome.out;
  EXPECT_THAT(outcome.err,
              HasSubstr(absl::StrCat("want a GPU for each rank, got one for ranks 0 and ", gpus,
                                     ": host ")));
  EXPECT_THAT(outcome.err, HasSubstr("NCCL_MULTI_RANK_GPU_ENABLE=1"));
  EXPECT_FALSE(FileExists(folder));
}

}  // namespace
}  // namespace lockstep
