#include "autograd/ops/add_rms_norm.h"

#include "autograd/gradcheck.h"
#include "gtest/gtest.h"
#include "tensor/kernels/testing.h"

namespace lockstep::autograd {
namespace {

using kernels::Random;

std::vector<Tensor> Inputs(double scale) {
  return {Random(DType::kF64, {5, 6}, 1, scale), Random(DType::kF64, {5, 6}, 2, scale),
          Random(DType::kF64, {6}, 3), Random(DType::kF64, {6}, 4)};
}

// Two blocks in a row, so that the gradient of the stream and of the norm meet. Inputs: residual,
// branch, post weight, weight.
CheckedFunction TwoBlocks(NormForm form, bool post) {
  return [=](Tape& tape, absl::Span<const Variable> in) {
    const RmsNormOptions options = {.eps = 1e-5, .form = form};
    const Variable post_weight = post ? in[2] : Variable();
    const auto block = [&](const Variable& residual, const Variable& branch) {
      return AddRmsNorm(tape, {residual, {branch}, post_weight, in[3], options});
    };
    const AddRmsNormResult first = block(in[0], in[1]);
    const AddRmsNormResult second = block(first.sum, first.normed);
    return std::vector<Variable>{second.sum, second.normed};
  };
}

// The stream's gradient is still another branch's where the first block takes it.
TEST(AddRmsNormTest, LeavesAGradientThatOthersHoldAlone) {
  GradCheck("held",
            {Random(DType::kF64, {5, 6}, 1), Random(DType::kF64, {5, 6}, 2),
             Random(DType::kF64, {5, 6}, 3), Random(DType::kF64, {6}, 4)},
            [](Tape& tape, absl::Span<const Variable> in) -> std::vector<Variable> {
              const AddRmsNormResult first =
                  AddRmsNorm(tape, {in[0], in[1], Variable(), in[3], {.eps = 1e-5}});
              const AddRmsNormResult second =
                  AddRmsNorm(tape, {first.sum, in[2], Variable(), in[3], {.eps = 1e-5}});
              return {second.normed, first.normed};
            },
            {.as_leaves = {}, .frozen = {false, false, false, true}});
}

TEST(AddRmsNormTest, Differentiates) {
  const GradCheckOptions leaves = {.as_leaves = {false, false, true, true}, .frozen = {}};
  const GradCheckOptions frozen = {.as_leaves = {}, .frozen = {false, false, true, true}};
  for (const double scale : {1e-1, 1.0, 1e2}) {
    GradCheck("gemma", Inputs(scale), TwoBlocks(NormForm::kGemma, true), leaves);
    GradCheck("gemma frozen", Inputs(scale), TwoBlocks(NormForm::kGemma, true), frozen);
    GradCheck("llama frozen", Inputs(scale), TwoBlocks(NormForm::kLlama, false), frozen);
  }
}

TEST(AddRmsNormTest, DifferentiatesWhereOneOutputIsNotUsed) {
  for (const int used : {0, 1}) {
    const CheckedFunction f = [&](Tape& tape, absl::Span<const Variable> in) {
      const AddRmsNormResult r = AddRmsNorm(tape, {in[0], in[1], Variable(), in[3], {}});
      return std::vector<Variable>{used == 0 ? r.sum : r.normed};
    };
    GradCheck("one output", Inputs(1.0), f,
              {.as_leaves = {}, .frozen = {false, false, true, true}});
  }
}

TEST(AddRmsNormTest, WithoutABranchTheStreamIsNormed) {
  const CheckedFunction f = [&](Tape& tape, absl::Span<const Variable> in) {
    const AddRmsNormResult r = AddRmsNorm(tape, {in[0], {}, Variable(), in[3], {}});
    return std::vector<Variable>{r.sum, r.normed};
  };
  GradCheck("stream", Inputs(1.0), f, {.as_leaves = {}, .frozen = {false, true, true, true}});
}

// What decoders do where segments keep only the sum.
TEST(AddRmsNormTest, ANormFromARstdThatIsKnownHasTheSameBitsAndGradients) {
  const CheckedFunction apart = [](Tape& tape, absl::Span<const Variable> in) {
    const ResidualSumResult first = ResidualSum(tape, {in[0], in[1], {}, in[3], {}});
    const AddRmsNormResult again =
        AddRmsNorm(tape, {first.sum, {}, Variable(), in[3], {}, first.rstd});
    return std::vector<Variable>{again.sum, again.normed};
  };
  GradCheck("apart", Inputs(1.0), apart,
            {.as_leaves = {false, false, false, true}, .frozen = {false, false, true, false}});
  std::vector<Variable> in;
  for (const Tensor& tensor : Inputs(1.0)) in.push_back(Variable::Frozen(tensor));
  Tape tape(kernels::CpuContext(), Tape::Mode::kForward);
  const AddRmsNormResult whole = AddRmsNorm(tape, {in[0], in[1], {}, in[3], {}});
  kernels::ExpectNear(apart(tape, in)[1].value(), whole.normed.value(), 0, 0);
}

TEST(AddRmsNormTest, ACheckpointedSegmentGivesTheSameGradients) {
  const CheckedFunction f = [&](Tape& tape, absl::Span<const Variable> in) {
    return tape.Checkpoint("segment", in, TwoBlocks(NormForm::kGemma, true));
  };
  GradCheck("checkpoint", Inputs(1.0), f, {.as_leaves = {false, false, true, true}, .frozen = {}});
}

}  // namespace
}  // namespace lockstep::autograd
