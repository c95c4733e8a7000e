// LoRA's dropout on a GPU, in bf16 by masks (tensor/kernels/dropped_lora.h), drops what the CPU
// drops: the gradients of a small model are the CPU's.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/check.h"
#include "gtest/gtest.h"
#include "nn/host_tensor.h"
#include "nn/model.h"
#include "tensor/kernels/fill.h"
#include "tensor/runtime.h"
#include "tests/golden_run.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"

namespace lockstep {
namespace {

struct RunOptions {
  DeviceType device = DeviceType::kCUDA;
  int64_t r = 8;
  double dropout = 0.3;
  nn::Checkpointing checkpointing = nn::Checkpointing::kNone;
};

// Every parameter's gradient.
std::vector<std::vector<double>> Gradients(const std::string& folder, const RunOptions& options) {
  const Context context = TestContext(options.device);
  const bool cuda = options.device == DeviceType::kCUDA;
  nn::ModelOptions load;
  load.directory = folder;
  load.lora = nn::LoraConfig();
  load.lora->r = options.r;
  load.lora->alpha = static_cast<double>(options.r);  // small: large shares make roundings large
  load.lora->init = nn::LoraInit::kFalse;             // B is not zero, so that A has a gradient
  load.num_slots = 1;
  load.compute_dtype = load.base_dtype = cuda ? DType::kBF16 : DType::kF32;
  const auto loaded = nn::Model::Load(context, load);
  CHECK(loaded.ok()) << loaded.status();
  nn::Model& model = **loaded;
  constexpr int kTokens = 100;
  std::vector<int32_t> ids, positions, rows, targets;
  std::vector<int64_t> token_keys;
  for (int i = 0; i < kTokens; ++i) {
    ids.push_back(i * i % 97);
    positions.push_back(i % 60);
    token_keys.push_back(int64_t{1} << i % 60 | i);
    rows.push_back(i);
    targets.push_back((i + 1) * (i + 1) % 97);
  }
  const std::vector<int32_t> starts = {0, 60, kTokens};
  const nn::PackedTokens pack = nn::ToDevice(
      context, {ids, positions, starts, rows, targets, token_keys}, cuda ? nn::kGpuRowMultiple : 1);
  nn::FlatParameters& parameters = model.parameters();
  parameters.ZeroSums(context);
  autograd::Tape tape(context);
  const nn::ForwardOptions forward = {.checkpointing = options.checkpointing,
                                      .lora_dropout = options.dropout};
  const nn::Decoder& decoder = model.decoder();
  const autograd::HeadNllResult nll =
      decoder.NllSum(tape, decoder.Hidden(tape, pack, forward), pack, 1.0 / kTokens, forward);
  const Tensor one = Tensor::Empty(*context.allocator, DType::kF64, {1});
  kernels::Fill(context.stream, one.Mutable("seed"), 1.0);
  tape.Backward({nll.loss}, {one}, [&](const autograd::Variable& leaf) {
    const int i = parameters.IndexOf(leaf);
    parameters.AddToSums(context, i, i + 1, /*packs_in_step=*/1, /*overflow_slot=*/0);
  });
  std::vector<std::vector<double>> out;
  for (int i = 0; i < parameters.num_parameters(); ++i) {
    out.push_back(ValuesOf(context, parameters.Part(parameters.sums(), i)));
  }
  return out;
}

// The largest difference of a matrix, relative to its largest element.
double Difference(const std::vector<std::vector<double>>& got,
                  const std::vector<std::vector<double>>& want) {
  double worst = 0;
  EXPECT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    double largest = 0, off = 0;
    for (size_t j = 0; j < want[i].size(); ++j) {
      largest = std::max(largest, std::abs(want[i][j]));
      off = std::max(off, std::abs(got[i][j] - want[i][j]));
    }
    worst = std::max(worst, off / largest);
  }
  return worst;
}

TEST(DropoutGpuTest, DropsWhatTheCpuDrops) {
  if (CudaDeviceCount() == 0) GTEST_SKIP() << "no GPU here";
  const std::string folder = FreshPath("model");
  WriteTinyModel(folder, 1, /*mlp=*/96);
  // By masks; and a rank that kernels do not take, each product by itself.
  for (const int64_t r : {8, 16, 24, 4}) {
    const auto want = Gradients(folder, {.device = DeviceType::kCPU, .r = r});
    const auto got = Gradients(folder, {.r = r});
    EXPECT_LT(Difference(got, want), kRandomBF16.gradient) << "rank " << r;
    EXPECT_GT(Difference(Gradients(folder, {.r = r, .dropout = 0}), want), 0.3) << "rank " << r;
    EXPECT_EQ(Gradients(folder, {.r = r, .checkpointing = nn::Checkpointing::kLayer}), got);
    EXPECT_EQ(Gradients(folder, {.r = r, .checkpointing = nn::Checkpointing::kCheap}), got);
  }
}

}  // namespace
}  // namespace lockstep
