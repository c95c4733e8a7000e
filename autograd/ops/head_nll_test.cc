#include "autograd/ops/head_nll.h"

#include "autograd/gradcheck.h"
#include "autograd/ops/embedding.h"
#include "tensor/kernels/dora.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/testing.h"

namespace lockstep::autograd {
namespace {

using kernels::CpuContext;
using kernels::ExpectNear;
using kernels::FromVector;
using kernels::Random;
using kernels::ToVector;

constexpr int64_t kTokens = 6, kWidth = 4, kVocab = 7;

Tensor Rows() { return FromVector(DType::kI32, {4}, {0, 2, 3, 5}); }
Tensor Targets() { return FromVector(DType::kI32, {4}, {6, 0, 3, 3}); }

// x, W, bias, A, B
std::vector<Tensor> Inputs(double scale) {
  return {Random(DType::kF64, {kTokens, kWidth}, 1, scale),
          Random(DType::kF64, {kVocab, kWidth}, 2), Random(DType::kF64, {kVocab}, 3),
          Random(DType::kF64, {2, kWidth}, 4), Random(DType::kF64, {kVocab, 2}, 5)};
}

HeadWeights Head(absl::Span<const Variable> in, double p) {
  const Tensor keys = FromVector(DType::kI64, {kTokens}, {3, 14, 15, 92, 65, 35});
  return {{in[1], in[2], {{in[3], in[4], 0.5, 0, 11}}}, {p, p > 0 ? keys : Tensor()}};
}

struct Case {
  double softcap, p;
  int64_t max_logits;
};

CheckedFunction Loss(const Case& c) {
  return [c](Tape& tape, absl::Span<const Variable> in) -> std::vector<Variable> {
    return {HeadNll(tape, in[0], Rows(), Targets(), Head(in, c.p),
                    {.grad_scale = 0.25, .softcap = c.softcap, .max_logits = c.max_logits})
                .loss};
  };
}

TEST(HeadNllTest, GradientsOfAllInputs) {
  for (const double scale : {0.1, 1.0, 5.0}) {
    for (const Case& c :
         {Case{0, 0, 1 << 20}, Case{0, 0, 3 * kVocab}, Case{2, 0, 1}, Case{0, 0.3, 3 * kVocab}}) {
      GradCheck("head_nll", Inputs(scale), Loss(c),
                {.as_leaves = {false, true, true, true, true}, .frozen = {}});
    }
  }
}

// The norm is constant to the backward pass, so A and B are frozen here.
TEST(HeadNllTest, DoraScalesLogits) {
  const std::vector<Tensor> inputs = Inputs(1);
  const auto head = [&](const Variable& magnitude) {
    const auto frozen = [&](int i) { return Variable::Frozen(inputs[i]); };
    return HeadWeights{{frozen(1), {}, {{frozen(3), frozen(4), 0.5, 0, 11}}}, {}, magnitude};
  };
  for (const int64_t max_logits : {int64_t{1} << 20, 3 * kVocab}) {
    GradCheck("dora", {inputs[0], Random(DType::kF64, {kVocab}, 6)},
              [&](Tape& tape, absl::Span<const Variable> in) -> std::vector<Variable> {
                return {HeadNll(tape, in[0], Rows(), Targets(), head(in[1]),
                                {.grad_scale = 0.25, .softcap = 2, .max_logits = max_logits})
                            .loss};
              },
              {.as_leaves = {false, true}, .frozen = {}});
  }
  // With the norms as magnitudes it is LoRA.
  const Tensor norms = Tensor::Empty(*CpuContext().allocator, DType::kF64, {kVocab});
  kernels::DoraNorm(Stream{}, inputs[1], inputs[3], inputs[4], 0.5, norms.Mutable("test"));
  Tape tape(CpuContext(), Tape::Mode::kForward);
  const Variable x = Variable::Frozen(inputs[0]);
  ExpectNear(HeadLogits(tape, x, Rows(), head(Variable::Frozen(norms))),
             HeadLogits(tape, x, Rows(), head({})), 1e-12, 1e-12);
}

TEST(HeadNllTest, FrozenPartsGetNoGradient) {
  const Case c = {0, 0, 3 * kVocab};
  const std::vector<bool> leaves = {false, true, true, true, true};
  GradCheck("frozen weights", Inputs(1), Loss(c),
            {.as_leaves = leaves, .frozen = {false, true, true, true, true}});
  GradCheck("frozen base", Inputs(1), Loss(c),
            {.as_leaves = leaves, .frozen = {false, true, true}});
  GradCheck("only adapters", Inputs(1), Loss(c),
            {.as_leaves = leaves, .frozen = {true, true, true}});
}

// The head's weights are the embedding's: one leaf, two uses.
TEST(HeadNllTest, TiedWeightsGetBothGradients) {
  GradCheck("tied", {Random(DType::kF64, {kVocab, kWidth}, 1)},
            [](Tape& tape, absl::Span<const Variable> in) -> std::vector<Variable> {
              const Tensor ids = FromVector(DType::kI32, {kTokens}, {1, 6, 1, 0, 3, 3});
              const Variable x = Embedding(tape, ids, in[0], DType::kF64, 2);
              return {HeadNll(tape, x, Rows(), Targets(), {{in[0], {}, {}}, {}}).loss};
            },
            {.as_leaves = {true}, .frozen = {}});
}

TEST(HeadNllTest, AHeadUsedTwiceAddsItsGradients) {
  GradCheck("twice", Inputs(1),
            [](Tape& tape, absl::Span<const Variable> in) -> std::vector<Variable> {
              const Case c = {0, 0, 2 * kVocab};
              return {Loss(c)(tape, in)[0], Loss(c)(tape, in)[0]};
            },
            {.as_leaves = {false, true, true, true, true}, .frozen = {}});
}

TEST(HeadNllTest, ChunksAndRecordingDoNotChangeTheLosses) {
  for (const double softcap : {0.0, 2.0}) {
    std::vector<Variable> in;
    for (const Tensor& t : Inputs(1)) in.push_back(Tape::Input(t));
    Tape forward(CpuContext(), Tape::Mode::kForward);
    const HeadNllResult whole = HeadNll(forward, in[0], Rows(), Targets(), Head(in, 0),
                                        {.grad_scale = 0.25, .softcap = softcap});
    const Tensor logits = HeadLogits(forward, in[0], Rows(), Head(in, 0), softcap);
    std::vector<double> want;
    double sum = 0;
    for (int64_t s = 0; s < 4; ++s) {
      const std::vector<double> row = ToVector(logits.Slice(0, s, s + 1));
      double total = 0;
      for (const double l : row) total += std::exp(l);
      const int target = static_cast<int>(ToVector(Targets())[s]);
      want.push_back(std::log(total) - row[target]);
      sum += want.back();
    }
    ExpectNear(whole.nll, FromVector(DType::kF64, {4}, want), 1e-12, 1e-12);
    EXPECT_NEAR(ToVector(whole.nll_sum)[0], sum, 1e-12);
    EXPECT_NEAR(ToVector(whole.loss.value())[0], sum / 4, 1e-12);
    for (Variable& v : in) v = Variable::Frozen(v.value());
    in[0] = Tape::Input(in[0].value());
    Tape record(CpuContext());
    const HeadNllResult chunked =
        HeadNll(record, in[0], Rows(), Targets(), Head(in, 0),
                {.grad_scale = 0.25, .softcap = softcap, .max_logits = 2 * kVocab});
    EXPECT_EQ(ToVector(chunked.nll), ToVector(whole.nll));
  }
}

TEST(HeadNllTest, NoSupervisedRowsGiveZeros) {
  const std::vector<Tensor> inputs = Inputs(1);
  const Variable x = Tape::Input(inputs[0]);
  const Variable w = Variable::Leaf("w", inputs[1], Random(DType::kF64, {kVocab, kWidth}, 9));
  Tape tape(CpuContext());
  const Tensor none = FromVector(DType::kI32, {0}, {});
  const HeadNllResult result = HeadNll(tape, x, none, none, {{w, {}, {}}, {}});
  EXPECT_EQ(ToVector(result.nll_sum)[0], 0);
  tape.Backward({result.loss}, {FromVector(DType::kF64, {1}, {1})}, nullptr);
  for (const double d : ToVector(Tape::GradientOf(x))) EXPECT_EQ(d, 0);
  for (const double d : ToVector(w.leaf_grad())) EXPECT_EQ(d, 0);
}

TEST(HeadNllTest, ChunksAreWholeTilesOfRows) {
  EXPECT_EQ(HeadChunkRows(1000, 1000 * 300), 256);
  EXPECT_EQ(HeadChunkRows(1000, 1000 * 100), 100) << "less than a tile";
  EXPECT_EQ(HeadChunkRows(1000, 1), 1);
}

TEST(HeadNllTest, LogitsOfAllRowsNeverExist) {
  const Tensor x = Random(DType::kF32, {64, 8}, 1);
  const Variable w = Variable::Frozen(Random(DType::kF32, {1000, 8}, 2));
  std::vector<double> all(64), targets(64, 5);
  for (int i = 0; i < 64; ++i) all[i] = i;
  const Tensor rows = FromVector(DType::kI32, {64}, all),
               t = FromVector(DType::kI32, {64}, targets);
  const int64_t before = CpuContext().allocator->bytes_in_use();
  CpuContext().allocator->ResetPeak();
  Tape tape(CpuContext());
  HeadNll(tape, Tape::Input(x), rows, t, {{w, {}, {}}, {}}, {.max_logits = 8000});
  EXPECT_LT(CpuContext().allocator->peak_bytes() - before, 64 * 1000 * 4 / 4);
}

// The memory plan: the same pass on a device that only records allocations has the same peak.
TEST(HeadNllTest, ThePlanEqualsTheRun) {
  const auto peak = [](const Context& context) {
    Allocator& memory = *context.allocator;
    const auto tensor = [&](DType dtype, std::initializer_list<int64_t> shape) {
      const Tensor x = Tensor::Empty(memory, dtype, shape);
      kernels::Fill(context.stream, x, 1);
      return x;
    };
    const DType f32 = DType::kF32, i32 = DType::kI32;
    const Variable w = Variable::Leaf("w", tensor(f32, {50, 16}), tensor(f32, {50, 16}));
    const Variable x = Tape::Input(tensor(f32, {40, 16}));
    const Tensor rows = tensor(i32, {20}), targets = tensor(i32, {20}),
                 seed = tensor(DType::kF64, {1});
    const int64_t before = memory.bytes_in_use();
    memory.ResetPeak();
    Tape tape(context);
    const HeadNllResult result =
        HeadNll(tape, x, rows, targets, {{w, {}, {}}, {}}, {.max_logits = 350});
    tape.Backward({result.loss}, {seed}, nullptr);
    return memory.peak_bytes() - before;
  };
  MetaAllocator meta;
  CpuAllocator cpu;
  const int64_t planned = peak({Stream{meta.device()}, &meta});
  EXPECT_EQ(planned, peak({Stream{cpu.device()}, &cpu}));
  EXPECT_GT(planned, 0);
}

}  // namespace
}  // namespace lockstep::autograd
