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
#include "tests/figures.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;
using Flags = std::vector<std::string>;

struct Result {
  std::string adapter, figures, run;
};

class LockstepGpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (dist::MostGpuRanks() < 2) GTEST_SKIP() << "needs 2 GPUs, got " << CudaDeviceCount();
    WriteTinyModel(model_, 1, /*mlp=*/64);
    WriteUnevenDocuments(documents_, 150, 300);
    folder_ = FreshPath("run");
  }

  Flags FlagsFor(const Flags& more) {
    folder_ = FreshPath("run");
    Flags flags = {"--model=" + model_,
                   "--train_file=" + documents_,
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

  Result Run(const Flags& more) {
    const Outcome outcome = Train(FlagsFor(more));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    return {ReadFile(folder_ + "/adapter_model.safetensors").value_or(""), FiguresIn(folder_),
            ReadFile(folder_ + "/run.json").value_or("")};
  }

  // Of every weight, whose update the ranks share; what products read of them is bf16.
  std::pair<std::string, std::string> RunFull(const std::string& model, int ranks) {
    folder_ = FreshPath("run");
    const Outcome outcome = Train(
        {"--model=" + model, "--train_file=" + documents_, "--output_dir=" + folder_,
         "--train=full", "--gradient_sum=exact", "--validation_split=0", "--max_steps=6",
         "--save_steps=3", "--tokens_per_pack=512", "--max_seq_length=300", "--learning_rate=1e-3",
         "--bucket_cap_mb=1", "--device=cuda", absl::StrCat("--nproc_per_node=", ranks)});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    return {ReadFile(folder_ + "/model.safetensors").value_or(""),
            ReadFile(folder_ + "/checkpoints/step-00000003/state.safetensors").value_or("")};
  }

  const std::string model_ = FreshPath("model"), documents_ = FreshPath("documents") + ".jsonl";
  std::string folder_;
};

TEST_F(LockstepGpuTest, AnyNumberOfGpusGivesTheSameBits) {
  const Result one = Run({"--nproc_per_node=1"});
  EXPECT_GT(one.adapter.size(), 1000u);
  EXPECT_THAT(one.run, HasSubstr("\"bits_independent_of_ranks\": true"));
  for (const char* what : {"gpus", "cuda", "cublasLt", "cudnn", "nvidia driver", "program"}) {
    EXPECT_THAT(one.run, HasSubstr(absl::StrCat("\"", what, "\": ")));
  }
  for (int ranks = 2; ranks <= dist::MostGpuRanks(); ++ranks) {
    for (const char* cap : {"--bucket_cap_mb=25", "--bucket_cap_mb=0.005"}) {
      const Result several = Run({absl::StrCat("--nproc_per_node=", ranks), cap, "--verify"});
      EXPECT_EQ(several.figures, one.figures) << ranks << cap;
      EXPECT_TRUE(several.adapter == one.adapter) << ranks << cap << ": the adapters differ";
    }
  }
}

TEST_F(LockstepGpuTest, AlsoWithLinearLayersInFp8) {
  if (!kernels::HasFp8Gemm({DeviceType::kCUDA, 0})) GTEST_SKIP() << "needs Hopper GPUs";
  const Result one = Run({"--nproc_per_node=1", "--base_dtype=fp8"});
  EXPECT_NE(one.figures, Run({"--nproc_per_node=1"}).figures) << "FP8 changes nothing";
  const Result two = Run({"--nproc_per_node=2", "--base_dtype=fp8", "--verify"});
  EXPECT_EQ(two.figures, one.figures);
  EXPECT_TRUE(two.adapter == one.adapter) << "the adapters differ";
  const Result layer =
      Run({"--nproc_per_node=2", "--base_dtype=fp8", "--gradient_checkpointing=layer"});
  EXPECT_EQ(layer.figures, one.figures);
  EXPECT_TRUE(layer.adapter == one.adapter) << "the adapters differ";
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
    const Result result = Run({"--nproc_per_node=2", sum});
    EXPECT_GT(result.adapter.size(), 1000u) << sum;
    EXPECT_THAT(result.run, HasSubstr("\"bits_independent_of_ranks\": false"));
  }
}

TEST(MoreRanksThanGpusTest, AreRefusedWhereTheUserDoesNotAllowIt) {
  const int gpus = CudaDeviceCount();
  if (gpus == 0) GTEST_SKIP() << "no GPU here";
  const std::string model = FreshPath("model"), folder = FreshPath("run");
  WriteTinyModel(model, 1);
  WriteUnevenDocuments(folder + ".jsonl", 20, 100);
  const Outcome outcome = TrainerProcess({"--model=" + model, "--train_file=" + folder + ".jsonl",
                                          "--output_dir=" + folder, "--device=cuda",
                                          absl::StrCat("--nproc_per_node=", gpus + 1)},
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
