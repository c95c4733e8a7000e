#include "autograd/ops/embedding_lora.h"

#include "autograd/gradcheck.h"
#include "autograd/ops/embedding.h"
#include "tensor/kernels/testing.h"

namespace lockstep::autograd {
namespace {

using kernels::CpuContext;
using kernels::FromVector;
using kernels::Random;
using kernels::ToVector;

constexpr int64_t kVocab = 5, kWidth = 3, kRank = 2;

Tensor Ids() { return FromVector(DType::kI32, {4}, {2, 0, 2, 3}); }

TEST(EmbeddingLoraTest, AddsRowsOfTheProduct) {
  const Tensor table = Random(DType::kF64, {kVocab, kWidth}, 1);
  const Tensor a = Random(DType::kF64, {kRank, kVocab}, 2),
               b = Random(DType::kF64, {kWidth, kRank}, 3);
  Tape tape(CpuContext(), Tape::Mode::kForward);
  const Variable y =
      EmbeddingLora(tape, Ids(), Embedding(tape, Ids(), Variable::Frozen(table), DType::kF64),
                    Variable::Frozen(a), Variable::Frozen(b), {.scale = 0.5});
  const auto got = ToVector(y.value()), ts = ToVector(table), as = ToVector(a), bs = ToVector(b);
  const int ids[] = {2, 0, 2, 3};
  for (int64_t t = 0; t < 4; ++t) {
    for (int64_t c = 0; c < kWidth; ++c) {
      double want = ts[ids[t] * kWidth + c];
      for (int64_t k = 0; k < kRank; ++k) {
        want += 0.5 * as[k * kVocab + ids[t]] * bs[c * kRank + k];
      }
      EXPECT_NEAR(got[t * kWidth + c], want, 1e-14);
    }
  }
}

TEST(EmbeddingLoraTest, GradientsOfAllInputs) {
  const std::vector<Tensor> inputs = {Random(DType::kF64, {kVocab, kWidth}, 1),
                                      Random(DType::kF64, {kRank, kVocab}, 2),
                                      Random(DType::kF64, {kWidth, kRank}, 3)};
  const CheckedFunction once = [](Tape& tape, absl::Span<const Variable> in) {
    const Variable y = Embedding(tape, Ids(), in[0], DType::kF64);
    return std::vector<Variable>{EmbeddingLora(tape, Ids(), y, in[1], in[2], {.scale = 0.5})};
  };
  const CheckedFunction twice = [&](Tape& tape, absl::Span<const Variable> in) {
    return std::vector<Variable>{once(tape, in)[0], once(tape, in)[0]};
  };
  const std::vector<bool> leaves = {true, true, true};
  GradCheck("embedding_lora", inputs, once, {.as_leaves = leaves, .frozen = {}});
  GradCheck("embedding_lora twice", inputs, twice, {.as_leaves = leaves, .frozen = {}});
  GradCheck("embedding_lora, table frozen", inputs, once,
            {.as_leaves = leaves, .frozen = {true, false, false}});
}

// torch.nn.Embedding trains no row for padding_idx; the others are as without it.
TEST(EmbeddingLoraTest, PaddingIsNotTrained) {
  const std::vector<Tensor> values = {Random(DType::kF64, {kVocab, kWidth}, 1),
                                      Random(DType::kF64, {kRank, kVocab}, 2),
                                      Random(DType::kF64, {kWidth, kRank}, 3)};
  const auto gradients = [&](int64_t padding_idx) {
    std::vector<Variable> in;
    std::vector<Tensor> grads;
    for (size_t i = 0; i < values.size(); ++i) {
      const View& view = values[i].view();
      grads.push_back(
          Tensor::Empty(*CpuContext().allocator, DType::kF64, {view.shape[0], view.shape[1]}));
      in.push_back(Variable::Leaf(std::to_string(i), values[i], grads[i]));
    }
    Tape tape(CpuContext());
    Variable y;
    // Twice, so that the second adds to the first.
    std::vector<Variable> outputs;
    for (int use = 0; use < 2; ++use) {
      y = Embedding(tape, Ids(), in[0], DType::kF64, 1, padding_idx);
      outputs.push_back(
          EmbeddingLora(tape, Ids(), y, in[1], in[2], {.scale = 0.5, .padding_idx = padding_idx}));
    }
    const std::vector<Tensor> seeds = {Random(DType::kF64, {4, kWidth}, 4),
                                       Random(DType::kF64, {4, kWidth}, 5)};
    tape.Backward(outputs, seeds, [](const Variable&) {});
    return std::vector<std::vector<double>>{ToVector(grads[0]), ToVector(grads[1]),
                                            ToVector(grads[2])};
  };
  auto want = gradients(-1);
  const auto got = gradients(2);
  for (int64_t c = 0; c < kWidth; ++c) want[0][2 * kWidth + c] = 0;
  for (int64_t k = 0; k < kRank; ++k) want[1][k * kVocab + 2] = 0;
  EXPECT_EQ(got, want);
}

}  // namespace
}  // namespace lockstep::autograd
