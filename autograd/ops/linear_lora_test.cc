#include "autograd/ops/linear_lora.h"

#include "autograd/gradcheck.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/testing.h"

namespace lockstep::autograd {
namespace {

using kernels::CpuContext;
using kernels::ExpectNear;
using kernels::FromVector;
using kernels::Random;
using kernels::ToVector;

constexpr int64_t kTokens = 5, kWidth = 6, kOutputs = 9;

Tensor TokenKeys() { return FromVector(DType::kI64, {kTokens}, {3, 14, 15, 92, 65}); }

// x, W, bias and two adapters: rank 2 on outputs 0…3, rank 3 on outputs 5…8; output 4 has none.
std::vector<Tensor> Inputs(double scale) {
  return {Random(DType::kF64, {kTokens, kWidth}, 1, scale),
          Random(DType::kF64, {kOutputs, kWidth}, 2, scale),
          Random(DType::kF64, {kOutputs}, 3, scale),
          Random(DType::kF64, {2, kWidth}, 4, scale),
          Random(DType::kF64, {4, 2}, 5, scale),
          Random(DType::kF64, {3, kWidth}, 6, scale),
          Random(DType::kF64, {4, 3}, 7, scale)};
}

Variable Apply(Tape& tape, absl::Span<const Variable> in, double p) {
  return LinearLora(tape, in[0],
                    {in[1], in[2], {{in[3], in[4], 0.5, 0, 101}, {in[5], in[6], -2, 5, 102}}},
                    {.p = p, .token_keys = p > 0 ? TokenKeys() : Tensor()});
}

CheckedFunction Function(double p) {
  return [p](Tape& tape, absl::Span<const Variable> in) -> std::vector<Variable> {
    return {Apply(tape, in, p)};
  };
}

// y in double, by the equation of the header.
std::vector<double> Reference(const std::vector<Tensor>& in) {
  const auto x = ToVector(in[0]), w = ToVector(in[1]), bias = ToVector(in[2]);
  std::vector<double> y(kTokens * kOutputs);
  const auto add = [&](int a_at, int64_t rank, double scale, int64_t first) {
    const auto a = ToVector(in[a_at]), b = ToVector(in[a_at + 1]);
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t r = 0; r < rank; ++r) {
        double h = 0;
        for (int64_t c = 0; c < kWidth; ++c) h += x[t * kWidth + c] * a[r * kWidth + c];
        for (int64_t n = 0; n < 4; ++n) y[t * kOutputs + first + n] += scale * h * b[n * rank + r];
      }
    }
  };
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t n = 0; n < kOutputs; ++n) {
      double& out = y[t * kOutputs + n] = bias[n];
      for (int64_t c = 0; c < kWidth; ++c) out += x[t * kWidth + c] * w[n * kWidth + c];
    }
  }
  add(3, 2, 0.5, 0);
  add(5, 3, -2, 5);
  return y;
}

TEST(LinearLoraTest, EqualsItsEquation) {
  Tape tape(CpuContext(), Tape::Mode::kForward);
  const std::vector<Tensor> tensors = Inputs(1);
  std::vector<Variable> in;
  for (const Tensor& tensor : tensors) in.push_back(Variable::Frozen(tensor));
  ExpectNear(Apply(tape, in, 0).value(),
             FromVector(DType::kF64, {kTokens, kOutputs}, Reference(tensors)), 1e-12, 1e-12);
}

TEST(LinearLoraTest, GradientsOfAllInputs) {
  // The op is linear in each element: a difference over a long step is exact but for rounding.
  for (const double scale : {0.01, 1.0, 100.0}) {
    for (const double p : {0.0, 0.4}) {
      GradCheck(
          "linear_lora", Inputs(scale), Function(p),
          {.as_leaves = {false, true, true, true, true, true, true}, .frozen = {}, .step = 0.01});
    }
  }
}

TEST(LinearLoraTest, FrozenPartsGetNoGradient) {
  const std::vector<bool> leaves = {false, true, true, true, true, true, true};
  for (const double p : {0.0, 0.4}) {
    GradCheck("frozen base", Inputs(1), Function(p),
              {.as_leaves = leaves, .frozen = {false, true, true}});
    GradCheck("frozen x and base", Inputs(1), Function(p),
              {.as_leaves = leaves, .frozen = {true, true, true}});
    GradCheck("frozen adapters", Inputs(1), Function(p),
              {.as_leaves = leaves, .frozen = {false, true, true, true, true, true, true}});
    GradCheck("frozen A", Inputs(1), Function(p),
              {.as_leaves = leaves, .frozen = {true, true, true, true, false, false, true}});
  }
}

// In any order: what one has written, the next adds to.
TEST(LinearLoraTest, AdaptersThatReachTheSameOutputsAdd) {
  const std::vector<Tensor> in = Inputs(1);
  const auto frozen = [&](int i) { return Variable::Frozen(in[i]); };
  const auto apply = [&](double scale, double other) {
    Tape tape(CpuContext(), Tape::Mode::kForward);
    return ToVector(
        LinearLora(tape, frozen(0),
                   {frozen(1),
                    frozen(2),
                    {{frozen(3), frozen(4), scale, 3}, {frozen(5), frozen(6), other, 1}}})
            .value());
  };
  const std::vector<double> both = apply(2, -3), first = apply(2, 0), second = apply(0, -3),
                            base = apply(0, 0);
  for (size_t i = 0; i < both.size(); ++i) {
    EXPECT_NEAR(both[i] - base[i], first[i] - base[i] + (second[i] - base[i]), 1e-12) << i;
  }
}

TEST(LinearLoraTest, WithoutAdaptersAndBias) {
  GradCheck("linear", {Random(DType::kF64, {3, 4}, 1), Random(DType::kF64, {5, 4}, 2)},
            [](Tape& tape, absl::Span<const Variable> in) -> std::vector<Variable> {
              return {LinearLora(tape, in[0], {in[1], Variable(), {}})};
            },
            {.as_leaves = {false, true}, .frozen = {}});
}

TEST(LinearLoraTest, ALayerUsedTwiceAddsItsGradients) {
  std::vector<Tensor> inputs = Inputs(1);
  inputs[1] = Random(DType::kF64, {kWidth, kWidth}, 2);  // square: apply it to its own output
  inputs[2] = Random(DType::kF64, {kWidth}, 3);
  GradCheck("twice", inputs,
            [](Tape& tape, absl::Span<const Variable> in) -> std::vector<Variable> {
              const LoraLayer layer = {
                  in[1], in[2], {{in[3], in[4], 0.5, 0, 1}, {in[5], in[6], 1, 2, 2}}};
              return {LinearLora(tape, LinearLora(tape, in[0], layer), layer)};
            },
            {.as_leaves = {false, true, true, true, true, true, true}, .frozen = {}});
}

// Two adapters whose A and gradients lie one after the other may share products, with the same
// results as the same adapters elsewhere; with dropout each has an x of its own.
std::vector<std::vector<double>> GradientsOfTwo(bool adjacent, double p) {
  const std::vector<Tensor> in = Inputs(1);
  std::vector<double> both = ToVector(in[3]);
  for (const double v : ToVector(in[5])) both.push_back(v);
  const Tensor a = FromVector(DType::kF64, {5, kWidth}, both);
  const Tensor memory = Random(DType::kF64, {7, kWidth}, 8);
  const int64_t second = adjacent ? 2 : 4;
  const Variable x = Tape::Input(in[0]);
  const Variable a0 =
      Variable::Leaf("a0", adjacent ? a.Slice(0, 0, 2) : in[3], memory.Slice(0, 0, 2));
  const Variable a1 = Variable::Leaf("a1", adjacent ? a.Slice(0, 2, 5) : in[5],
                                     memory.Slice(0, second, second + 3));
  Tape tape(CpuContext());
  const Variable y = LinearLora(
      tape, x,
      {Variable::Frozen(in[1]),
       Variable::Frozen(in[2]),
       {{a0, Variable::Frozen(in[4]), 0.5, 0, 1}, {a1, Variable::Frozen(in[6]), -2, 5, 2}}},
      {.p = p, .token_keys = TokenKeys()});
  const std::vector<double> output = ToVector(y.value());
  tape.Backward({y}, {Random(DType::kF64, {kTokens, kOutputs}, 10)}, nullptr);
  return {output, ToVector(Tape::GradientOf(x)), ToVector(a0.leaf_grad()),
          ToVector(a1.leaf_grad())};
}

TEST(LinearLoraTest, AdjacentAdaptersGiveTheSameGradients) {
  for (const double p : {0.0, 0.4}) {
    const auto apart = GradientsOfTwo(false, p), adjacent = GradientsOfTwo(true, p);
    for (size_t i = 0; i < apart.size(); ++i) {
      for (size_t j = 0; j < apart[i].size(); ++j) {
        EXPECT_NEAR(apart[i][j], adjacent[i][j], 1e-12) << p << ": " << i << ", " << j;
      }
    }
  }
}

TEST(LinearLoraTest, KeepsOnlyWhatBackwardReads) {
  const Variable x = Tape::Input(Random(DType::kF32, {64, 64}, 1));
  const Variable w = Variable::Frozen(Random(DType::kBF16, {64, 64}, 2));
  Tape tape(CpuContext());
  const int64_t before = CpuContext().allocator->bytes_in_use();
  { const Variable y = LinearLora(tape, x, {w, Variable(), {}}); }
  EXPECT_EQ(CpuContext().allocator->bytes_in_use(), before);
}

// The memory plan: the same pass on a device that only records allocations has the same peak.
TEST(LinearLoraTest, ThePlanEqualsTheRun) {
  const auto peak = [](const Context& context, double p) {
    Allocator& memory = *context.allocator;
    const auto tensor = [&](std::initializer_list<int64_t> shape) {
      const Tensor x = Tensor::Empty(memory, DType::kF32, shape);
      kernels::Fill(context.stream, x, 0.5);
      return x;
    };
    Tensor keys = Tensor::Empty(memory, DType::kI64, {64});
    kernels::Fill(context.stream, keys, 1);
    const Variable a = Variable::Leaf("a", tensor({8, 96}), tensor({8, 96}));
    const Variable b = Variable::Leaf("b", tensor({32, 8}), tensor({32, 8}));
    const Variable x = Tape::Input(tensor({64, 96}));
    const int64_t before = memory.bytes_in_use();
    memory.ResetPeak();
    Tape tape(context);
    const Variable y =
        LinearLora(tape, x, {Variable::Frozen(tensor({48, 96})), Variable(), {{a, b, 2, 16, 1}}},
                   {.p = p, .token_keys = keys});
    tape.Backward({y}, {tensor({64, 48})}, nullptr);
    return memory.peak_bytes() - before;
  };
  for (const double p : {0.0, 0.1}) {
    MetaAllocator meta;
    CpuAllocator cpu;
    const int64_t planned = peak({Stream{meta.device()}, &meta}, p);
    EXPECT_EQ(planned, peak({Stream{cpu.device()}, &cpu}, p));
    EXPECT_GT(planned, 0);
  }
}

TEST(LinearLoraDeathTest, RefusesWhatDoesNotFit) {
  const std::vector<Tensor> in = Inputs(1);
  const auto frozen = [&](int i) { return Variable::Frozen(in[i]); };
  Tape tape(CpuContext());
  const auto apply = [&](const LoraAdapter& adapter) {
    LinearLora(tape, frozen(0), {frozen(1), frozen(2), {adapter}});
  };
  EXPECT_DEATH(apply({frozen(3), frozen(4), 1, 6, 0}), "from output 6 does not fit in W");
  EXPECT_DEATH(apply({frozen(3), frozen(6), 1, 0, 0}), "lora_B: want shape \\[4, 2\\]");
}

TEST(LinearLoraTest, ASegmentsEndIsNotComputedAgain) {
  std::vector<Tensor> inputs = Inputs(1.0);
  inputs.resize(5);
  int reruns = 0;
  const CheckedFunction f = [&](Tape& tape, absl::Span<const Variable> in) {
    return tape.Checkpoint("segment", in, [&](Tape& t, absl::Span<const Variable> x) {
      reruns += t.rerunning();
      const LoraLayer layer = {x[1], x[2], {{x[3], x[4], 0.5, 0}}};
      return std::vector<Variable>{LinearLora(t, x[0], layer, {}, /*ends_segment=*/true)};
    });
  };
  GradCheck("segment", inputs, f, {.as_leaves = {false, true, true, true, true}, .frozen = {}});
  EXPECT_GT(reruns, 0);
}

}  // namespace
}  // namespace lockstep::autograd
