#include "autograd/ops/rms_norm.h"

#include "autograd/gradcheck.h"
#include "gtest/gtest.h"
#include "tensor/kernels/testing.h"

namespace lockstep::autograd {
namespace {

using kernels::Random;

TEST(RmsNormTest, Differentiates) {
  for (const NormForm form : {NormForm::kLlama, NormForm::kGemma}) {
    const RmsNormOptions options = {.eps = 1e-5, .form = form};
    const CheckedFunction f = [&](Tape& tape, absl::Span<const Variable> in) {
      return std::vector<Variable>{RmsNorm(tape, in[0], in[1], options)};
    };
    const CheckedFunction again = [&](Tape& tape, absl::Span<const Variable> in) {
      return tape.Checkpoint("segment", in, [&](Tape& inner, absl::Span<const Variable> x) {
        return std::vector<Variable>{
            RmsNorm(inner, RmsNorm(inner, x[0], x[1], options), x[1], options)};
      });
    };
    for (const double scale : {1e-2, 1.0, 1e2}) {
      const std::vector<Tensor> inputs = {Random(DType::kF64, {5, 6}, 1, scale),
                                          Random(DType::kF64, {6}, 2)};
      GradCheckOptions options = {.as_leaves = {false, true}, .frozen = {}};
      GradCheck("rms_norm", inputs, f, options);
      GradCheck("rms_norm used twice", inputs, again, options);
      options.frozen = {false, true};
      GradCheck("rms_norm of a frozen weight", inputs, f, options);
    }
  }
}

}  // namespace
}  // namespace lockstep::autograd
