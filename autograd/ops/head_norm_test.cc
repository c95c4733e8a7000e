#include "autograd/ops/head_norm.h"

#include "autograd/gradcheck.h"
#include "autograd/ops/glu.h"
#include "gtest/gtest.h"
#include "tensor/kernels/testing.h"

namespace lockstep::autograd {
namespace {

using kernels::CpuContext;
using kernels::Random;
using kernels::ToVector;

constexpr QkvLayout kLayout = {.heads = 4, .kv_heads = 2, .head_dim = 3};

std::vector<Tensor> Inputs(double scale) {
  return {Random(DType::kF64, {5, kLayout.width()}, 1, scale), Random(DType::kF64, {3}, 2),
          Random(DType::kF64, {3}, 3)};
}

TEST(HeadNormTest, NormsQueryAndKeyHeadsAndLeavesValues) {
  const std::vector<Tensor> in = Inputs(1.0);
  const std::vector<double> before = ToVector(in[0]), wq = ToVector(in[1]), wk = ToVector(in[2]);
  Tape tape(CpuContext(), Tape::Mode::kForward);
  const Variable y = HeadNorm(tape, Tape::Input(in[0]), Variable::Frozen(in[1]),
                              Variable::Frozen(in[2]), kLayout, {.eps = 0});
  const std::vector<double> after = ToVector(y.value());
  for (int64_t t = 0; t < 5; ++t) {
    for (int64_t h = 0; h < 8; ++h) {
      const size_t at = t * 24 + h * 3;
      const double norm = std::sqrt((before[at] * before[at] + before[at + 1] * before[at + 1] +
                                     before[at + 2] * before[at + 2]) /
                                    3);
      for (int i = 0; i < 3; ++i) {
        const double want = h < 4   ? wq[i] * before[at + i] / norm
                            : h < 6 ? wk[i] * before[at + i] / norm
                                    : before[at + i];
        EXPECT_NEAR(after[at + i], want, 1e-14);
      }
    }
  }
}

TEST(HeadNormTest, Differentiates) {
  for (const NormForm form : {NormForm::kLlama, NormForm::kGemma}) {
    const RmsNormOptions options = {.eps = 1e-5, .form = form};
    const CheckedFunction f = [&](Tape& tape, absl::Span<const Variable> in) {
      return std::vector<Variable>{HeadNorm(tape, in[0], in[1], in[2], kLayout, options)};
    };
    for (const double scale : {1e-1, 1.0, 1e2}) {
      GradCheck("head_norm", Inputs(scale), f, {.as_leaves = {false, true, true}, .frozen = {}});
      GradCheck("head_norm frozen", Inputs(scale), f,
                {.as_leaves = {}, .frozen = {false, true, true}});
    }
  }
}

TEST(HeadNormTest, DifferentiatesInACheckpointedSegment) {
  // The norm overwrites what it is given: an activation of the segment's own.
  const CheckedFunction f = [&](Tape& tape, absl::Span<const Variable> in) {
    return tape.Checkpoint("segment", in, [](Tape& inner, absl::Span<const Variable> x) {
      const Variable qkv = Glu(inner, x[0], GluActivation::kSilu);
      return std::vector<Variable>{HeadNorm(inner, qkv, x[1], x[2], kLayout, {.eps = 1e-5})};
    });
  };
  std::vector<Tensor> inputs = Inputs(1.0);
  inputs[0] = Random(DType::kF64, {5, 2 * kLayout.width()}, 1);
  GradCheck("head_norm", inputs, f, {.as_leaves = {false, true, true}, .frozen = {}});
  GradCheck("head_norm frozen", inputs, f, {.as_leaves = {}, .frozen = {false, true, true}});
}

}  // namespace
}  // namespace lockstep::autograd
