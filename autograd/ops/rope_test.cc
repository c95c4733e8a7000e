#include "autograd/ops/rope.h"

#include "autograd/gradcheck.h"
#include "autograd/ops/glu.h"
#include "gtest/gtest.h"
#include "tensor/kernels/testing.h"

namespace lockstep::autograd {
namespace {

using kernels::CpuContext;
using kernels::FromVector;
using kernels::Random;

constexpr QkvLayout kLayout = {.heads = 2, .kv_heads = 1, .head_dim = 6};

Tensor Table() {  // partial: 4 of 6 elements; two rows of frequencies
  return RopeTable(CpuContext(), FromVector(DType::kI32, {5}, {0, 1, 2, 0, 1}),
                   FromVector(DType::kF64, {2, 2}, {1.0, 0.1, 0.7, 0.01}),
                   FromVector(DType::kI32, {5}, {0, 0, 0, 1, 1}), 1.25);
}

TEST(RopeTest, Differentiates) {
  const CheckedFunction f = [table = Table()](Tape& tape, absl::Span<const Variable> in) {
    return std::vector<Variable>{Rope(tape, in[0], kLayout, table)};
  };
  for (const double scale : {1e-2, 1.0, 1e2}) {
    GradCheck("rope", {Random(DType::kF64, {5, kLayout.width()}, 1, scale)}, f);
  }
}

TEST(RopeTest, DifferentiatesInACheckpointedSegment) {
  const CheckedFunction f = [table = Table()](Tape& tape, absl::Span<const Variable> in) {
    return tape.Checkpoint("segment", in, [table](Tape& inner, absl::Span<const Variable> x) {
      const Variable made_here = Glu(inner, x[0], GluActivation::kSilu);
      return std::vector<Variable>{Rope(inner, made_here, kLayout, table)};
    });
  };
  GradCheck("rope", {Random(DType::kF64, {5, 2 * kLayout.width()}, 1)}, f);
}

}  // namespace
}  // namespace lockstep::autograd
