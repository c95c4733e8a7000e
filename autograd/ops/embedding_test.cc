#include "autograd/ops/embedding.h"

#include "autograd/gradcheck.h"
#include "tensor/kernels/testing.h"

namespace lockstep::autograd {
namespace {

using kernels::CpuContext;
using kernels::FromVector;
using kernels::Random;
using kernels::ToVector;

Tensor Ids() { return FromVector(DType::kI32, {4}, {2, 0, 2, 3}); }

TEST(EmbeddingTest, GradientOfTheTable) {
  for (const double scale : {0.01, 1.0, 100.0}) {
    GradCheck("embedding", {Random(DType::kF64, {5, 3}, 1, scale)},
              [](Tape& tape, absl::Span<const Variable> in) -> std::vector<Variable> {
                return {Embedding(tape, Ids(), in[0], DType::kF64, 0.5)};
              },
              {.as_leaves = {true}, .frozen = {}});
  }
}

TEST(EmbeddingTest, ATableUsedTwiceAddsItsGradients) {
  GradCheck("twice", {Random(DType::kF64, {5, 3}, 1)},
            [](Tape& tape, absl::Span<const Variable> in) -> std::vector<Variable> {
              return {Embedding(tape, Ids(), in[0], DType::kF64, 0.5),
                      Embedding(tape, Ids(), in[0], DType::kF64, 2)};
            },
            {.as_leaves = {true}, .frozen = {}});
}

TEST(EmbeddingTest, ThePaddingsRowGetsNothing) {
  Tape tape(CpuContext());
  const Variable table =
      Variable::Leaf("table", Random(DType::kF64, {5, 3}, 1),
                     FromVector(DType::kF64, {5, 3}, std::vector<double>(15, 9)));
  const auto embed = [&] {
    return Embedding(tape, Ids(), table, DType::kF64, 1, /*padding_idx=*/2);
  };
  const Variable y = embed(), again = embed();
  const Tensor ones = FromVector(DType::kF64, {4, 3}, std::vector<double>(12, 1));
  tape.Backward({y, again}, {ones, ones}, nullptr);
  EXPECT_EQ(ToVector(table.leaf_grad()),
            (std::vector<double>{2, 2, 2, 0, 0, 0, 0, 0, 0, 2, 2, 2, 0, 0, 0}));
}

TEST(EmbeddingTest, AFrozenTableIsNotRecorded) {
  Tape tape(CpuContext());
  const Variable table = Variable::Frozen(Random(DType::kBF16, {5, 3}, 1));
  const Variable y = Embedding(tape, Ids(), table, DType::kF32);
  EXPECT_FALSE(y.needs_grad());
  EXPECT_EQ(ToVector(y.value().Slice(0, 1, 2)), ToVector(table.value().Slice(0, 0, 1)));
}

}  // namespace
}  // namespace lockstep::autograd
