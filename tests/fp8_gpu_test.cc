// Linear layers in FP8 on one GPU: training is another than in bf16, and the same bytes again and
// in another mode of checkpointing. On several GPUs: lockstep_gpu_test.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tensor/kernels/fp8_gemm.h"
#include "tensor/runtime.h"
#include "tests/run_result.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"

namespace lockstep {
namespace {

class Fp8GpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (CudaDeviceCount() == 0) GTEST_SKIP() << "no GPU here";
    if (!kernels::HasFp8Gemm({DeviceType::kCUDA, 0})) GTEST_SKIP() << "needs Hopper GPUs";
  }

  RunResult Run(const std::vector<std::string>& more) {
    const std::string folder = FreshPath("run");
    std::vector<std::string> flags = {"--model=" + input_.model, "--train_file=" + input_.documents,
                                      "--output_dir=" + folder,  "--validation_split=0.1",
                                      "--max_steps=6",           "--tokens_per_pack=512",
                                      "--max_seq_length=300",    "--learning_rate=1e-2",
                                      "--lora_dropout=0.1",      "--device=cuda",
                                      "--nproc_per_node=1"};
    flags.insert(flags.end(), more.begin(), more.end());
    const Outcome outcome = Train(flags);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    return ResultIn(folder);
  }

  const TinyInput input_ = MakeTinyInput(150, 300, /*mlp=*/64);
};

TEST_F(Fp8GpuTest, IsAnotherTrainingAndAlwaysTheSame) {
  const std::string fp8 = "--base_dtype=fp8";
  const RunResult it = Run({fp8});
  EXPECT_GT(it.trained.size(), 1000u);
  EXPECT_NE(it.figures, Run({}).figures) << "FP8 changes nothing";
  ExpectSame(Run({fp8}), it);
  ExpectSame(Run({fp8, "--gradient_checkpointing=layer"}), it);
}

}  // namespace
}  // namespace lockstep
