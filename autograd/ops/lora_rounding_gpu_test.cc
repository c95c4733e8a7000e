// LoRA's first updates in bf16: shares far below the last place of what they join.

#include <numeric>

#include "autograd/ops/add_rms_norm.h"
#include "autograd/ops/linear_lora.h"
#include "tensor/kernels/testing.h"

namespace lockstep::autograd {
namespace {

using kernels::FromVector;
using kernels::GpuContext;
using kernels::Random;
using kernels::ToCpu;
using kernels::ToGpu;
using kernels::ToVector;

constexpr int64_t kTokens = 256, kWidth = 512, kRank = 16;

// The mean over all elements; rounding moves each by up to 2⁻⁴, their mean by some 2⁻¹³.
double Mean(const Variable& x) {
  const std::vector<double> values = ToVector(ToCpu(x.value()));
  return std::accumulate(values.begin(), values.end(), 0.0) / values.size();
}

// x's first channel is 1 and A reads it alone, so the share is the same in all outputs, most of
// which lie between 4 and 64, where the last place is 8 to 128 times as large.
TEST(LoraRoundingGpuTest, ASmallShareIsNotEnlarged) {
  SKIP_WITHOUT_GPU();
  constexpr double kShare = 0x1p-8;
  std::vector<double> x = ToVector(Random(DType::kBF16, {kTokens, kWidth}, 1));
  for (int64_t t = 0; t < kTokens; ++t) x[t * kWidth] = 1;
  std::vector<double> a(kRank * kWidth), b(kWidth * kRank);
  a[0] = 1;
  for (int64_t n = 0; n < kWidth; ++n) b[n * kRank] = kShare / 2;
  const auto frozen = [](std::initializer_list<int64_t> shape, const std::vector<double>& values) {
    return Variable::Frozen(ToGpu(FromVector(DType::kBF16, shape, values)));
  };
  const Variable in = frozen({kTokens, kWidth}, x);
  const LoraAdapter adapter = {frozen({kRank, kWidth}, a), frozen({kWidth, kRank}, b), 2, 0};
  const Variable w = Variable::Frozen(ToGpu(Random(DType::kBF16, {kWidth, kWidth}, 2))),
                 residual = Variable::Frozen(ToGpu(Random(DType::kBF16, {kTokens, kWidth}, 3, 16))),
                 norm = Variable::Frozen(ToGpu(Random(DType::kBF16, {kWidth}, 4)));
  Tape tape(*GpuContext(), Tape::Mode::kForward);
  const Variable base = LinearLora(tape, in, {w, Variable(), {}});
  const Variable y = LinearLora(tape, in, {w, Variable(), {adapter}});
  // Most of it is lost where the product is rounded before it joins the share
  // (docs/numerics.md, "The first updates in bf16"); ties that it broke would make it larger.
  const auto expect_part_of_share = [](double got) {
    EXPECT_GT(got, 0);
    EXPECT_LT(got, kShare * 5 / 4);
  };
  expect_part_of_share(Mean(y) - Mean(base));
  const auto joined = [&](const Variable& branch) {
    return AddRmsNorm(tape, {residual, branch, Variable(), norm, {}}).sum;
  };
  expect_part_of_share(Mean(joined(y)) - Mean(joined(base)));
}

}  // namespace
}  // namespace lockstep::autograd
