#include "autograd/ops/normed_linear.h"

#include "autograd/gradcheck.h"
#include "tensor/kernels/testing.h"

namespace lockstep::autograd {
namespace {

using kernels::CpuContext;
using kernels::ExpectNear;
using kernels::FromVector;
using kernels::Random;

constexpr int64_t kTokens = 5, kWidth = 6, kOutputs = 9;

// residual, branch, post weight, weight, W, A, B
std::vector<Tensor> Inputs() {
  return {Random(DType::kF64, {kTokens, kWidth}, 1),  Random(DType::kF64, {kTokens, kWidth}, 2),
          Random(DType::kF64, {kWidth}, 3),           Random(DType::kF64, {kWidth}, 4),
          Random(DType::kF64, {kOutputs, kWidth}, 5), Random(DType::kF64, {4, kWidth}, 6),
          Random(DType::kF64, {kOutputs, 4}, 7)};
}

LoraDropout Dropout(double p) {
  if (p == 0) return {};
  return {p, FromVector(DType::kI64, {kTokens}, {3, 14, 15, 92, 65})};
}

CheckedFunction Function(bool branch, bool post, double p) {
  return [=](Tape& tape, absl::Span<const Variable> in) {
    const ResidualInput head = {
        in[0], branch ? in[1] : Variable(), post ? in[2] : Variable(), in[3], {}};
    const NormedResult r =
        NormedLinear(tape, head, {in[4], Variable(), {{in[5], in[6], 0.5, 0, 7}}}, Dropout(p));
    return std::vector<Variable>{r.sum, r.y};
  };
}

TEST(NormedLinearTest, IsANormBeforeALinear) {
  std::vector<Variable> in;
  for (const Tensor& tensor : Inputs()) in.push_back(Variable::Frozen(tensor));
  Tape tape(CpuContext(), Tape::Mode::kForward);
  const AddRmsNormResult normed = AddRmsNorm(tape, {in[0], in[1], in[2], in[3], {}});
  const LoraLayer layer = {in[4], Variable(), {{in[5], in[6], 0.5}}};
  const Variable y = LinearLora(tape, normed.normed, layer);
  const std::vector<Variable> fused = Function(true, true, 0)(tape, in);
  ExpectNear(fused[0].value(), normed.sum.value(), 0, 0);
  ExpectNear(fused[1].value(), y.value(), 0, 0);
}

TEST(NormedLinearTest, Differentiates) {
  GradCheckOptions leaves, frozen;
  leaves.as_leaves = {false, false, true, true, true, true, true};
  frozen.as_leaves = {false, false, false, false, false, true, true};
  frozen.frozen = {false, false, true, true, true};
  for (const double p : {0.0, 0.4}) {
    GradCheck("post-norm", Inputs(), Function(true, true, p), leaves);
    GradCheck("branch", Inputs(), Function(true, false, p), frozen);
  }
  frozen.frozen[1] = true;
  GradCheck("stream", Inputs(), Function(false, false, 0), frozen);
}

// The first layer's residual is the frozen embedding's: only the adapters have gradients.
TEST(NormedLinearTest, DifferentiatesWhereTheStreamIsFrozen) {
  GradCheckOptions options;
  options.as_leaves = {false, false, false, false, false, true, true};
  options.frozen = {true, true, true, true, true};
  GradCheck("frozen stream", Inputs(), Function(false, false, 0), options);
  // A layer behind layers without adapters: stream and branch are results of ops on frozen values.
  for (const bool post : {false, true}) {
    const CheckedFunction behind = [&](Tape& tape, absl::Span<const Variable> in) {
      const AddRmsNormResult before = AddRmsNorm(tape, {in[0], in[1], in[2], in[3], {}});
      std::vector<Variable> inputs(in.begin(), in.end());
      inputs[0] = before.sum;
      inputs[1] = before.normed;
      return Function(true, post, 0)(tape, inputs);
    };
    GradCheck("frozen branch", Inputs(), behind, options);
  }
}

TEST(NormedLinearTest, ACheckpointedSegmentGivesTheSameGradients) {
  const CheckedFunction f = [](Tape& tape, absl::Span<const Variable> in) {
    return tape.Checkpoint("segment", in, Function(true, true, 0.4));
  };
  GradCheck("checkpoint", Inputs(), f,
            {.as_leaves = {false, false, true, true, true, true, true}, .frozen = {}});
}

}  // namespace
}  // namespace lockstep::autograd
