#include "autograd/ops/glu.h"

#include "autograd/gradcheck.h"
#include "gtest/gtest.h"
#include "tensor/kernels/testing.h"

namespace lockstep::autograd {
namespace {

using kernels::Random;

TEST(GluTest, Differentiates) {
  for (const GluActivation activation : {GluActivation::kSilu, GluActivation::kGeluTanh}) {
    const Tape::Segment f = [=](Tape& tape, absl::Span<const Variable> in) {
      return std::vector<Variable>{Glu(tape, in[0], activation)};
    };
    const CheckedFunction checkpointed = [&](Tape& tape, absl::Span<const Variable> in) {
      return tape.Checkpoint("segment", in, f);
    };
    for (const double scale : {1e-2, 1.0, 1e1}) {
      const std::vector<Tensor> inputs = {Random(DType::kF64, {5, 8}, 1, scale)};
      GradCheck("glu", inputs, f);
      GradCheck("glu in a segment", inputs, checkpointed);
    }
  }
}

}  // namespace
}  // namespace lockstep::autograd
