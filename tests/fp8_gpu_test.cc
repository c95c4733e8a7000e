// Linear layers in FP8 on one GPU: training is another than in bf16, and the same bytes again and
// in another mode of checkpointing. On several GPUs: lockstep_gpu_test.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/file.h"
#include "tensor/kernels/fp8_gemm.h"
#include "tensor/runtime.h"
#include "tests/figures.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"

namespace lockstep {
namespace {

struct Result {
  std::string adapter, figures;
};

class Fp8GpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (CudaDeviceCount() == 0) GTEST_SKIP() << "no GPU here";
    if (!kernels::HasFp8Gemm({DeviceType::kCUDA, 0})) GTEST_SKIP() << "needs Hopper GPUs";
    WriteTinyModel(model_, 1, /*mlp=*/64);
    WriteUnevenDocuments(documents_, 150, 300);
  }

  Result Run(const std::vector<std::string>& more) {
    const std::string folder = FreshPath("run");
    std::vector<std::string> flags = {"--model=" + model_,      "--train_file=" + documents_,
                                      "--output_dir=" + folder, "--validation_split=0.1",
                                      "--max_steps=6",          "--tokens_per_pack=512",
                                      "--max_seq_length=300",   "--learning_rate=1e-2",
                                      "--lora_dropout=0.1",     "--device=cuda",
                                      "--nproc_per_node=1"};
    flags.insert(flags.end(), more.begin(), more.end());
    const Outcome outcome = Train(flags);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    return {ReadFile(folder + "/adapter_model.safetensors").value_or(""), FiguresIn(folder)};
  }

  const std::string model_ = FreshPath("model"), documents_ = FreshPath("documents") + ".jsonl";
};

TEST_F(Fp8GpuTest, IsAnotherTrainingAndAlwaysTheSame) {
  const std::string fp8 = "--base_dtype=fp8";
  const Result it = Run({fp8});
  EXPECT_GT(it.adapter.size(), 1000u);
  EXPECT_NE(it.figures, Run({}).figures) << "FP8 changes nothing";
  for (const Result& other : {Run({fp8}), Run({fp8, "--gradient_checkpointing=layer"})}) {
    EXPECT_EQ(other.figures, it.figures);
    EXPECT_TRUE(other.adapter == it.adapter) << "the adapters differ";
  }
}

}  // namespace
}  // namespace lockstep
