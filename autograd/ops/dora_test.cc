#include "autograd/ops/dora.h"

#include "autograd/gradcheck.h"
#include "autograd/ops/linear_lora.h"
#include "tensor/kernels/dropout.h"
#include "tensor/kernels/testing.h"

namespace lockstep::autograd {
namespace {

using kernels::CpuContext;
using kernels::FromVector;
using kernels::Random;
using kernels::ToVector;

constexpr int64_t kTokens = 4, kWidth = 5, kOutputs = 8;

// Outputs 0…2 with DoRA, 3 without an adapter, 4…7 with an adapter alone or DoRA.
std::vector<LoraAdapter> Adapters(uint32_t seed) {
  const auto frozen = [&](std::initializer_list<int64_t> shape) {
    return Variable::Frozen(Random(DType::kF64, shape, seed++));
  };
  return {{frozen({2, kWidth}), frozen({3, 2}), 0.5, 0, 0},
          {frozen({1, kWidth}), frozen({4, 1}), 2, 4, 0}};
}

Variable Weights() { return Variable::Frozen(Random(DType::kF64, {kOutputs, kWidth}, 9)); }

TEST(DoraTest, RowsOfTheMergedWeightsGetTheirMagnitude) {
  const Tensor x = Random(DType::kF64, {kTokens, kWidth}, 1);
  const Tensor m = Random(DType::kF64, {3}, 2), bias = Random(DType::kF64, {kOutputs}, 3);
  const std::vector<LoraAdapter> adapters = Adapters(20);
  Tape tape(CpuContext(), Tape::Mode::kForward);
  const Variable linear = LinearLora(tape, Variable::Frozen(x), {Weights(), {}, adapters});
  const Variable y = Dora(tape, linear, Weights(), Variable::Frozen(bias), adapters,
                          {Variable::Frozen(m), Variable()});
  const auto w = ToVector(Weights().value()), xs = ToVector(x), ms = ToVector(m);
  const auto a = ToVector(adapters[0].a.value()), b = ToVector(adapters[0].b.value());
  const auto got = ToVector(y.value()), plain = ToVector(linear.value()), bs = ToVector(bias);
  for (int64_t n = 0; n < kOutputs; ++n) {
    double row[kWidth], squares = 0;
    for (int64_t c = 0; c < kWidth; ++c) {
      row[c] = w[n * kWidth + c];
      for (int64_t r = 0; n < 3 && r < 2; ++r) row[c] += 0.5 * b[n * 2 + r] * a[r * kWidth + c];
      squares += row[c] * row[c];
    }
    for (int64_t t = 0; t < kTokens; ++t) {
      double want = 0;
      for (int64_t c = 0; c < kWidth; ++c) {
        want += n < 3 ? ms[n] / std::sqrt(squares) * row[c] * xs[t * kWidth + c] : 0;
      }
      if (n >= 3) want = plain[t * kOutputs + n];
      EXPECT_NEAR(got[t * kOutputs + n], want + bs[n], 1e-12) << n;
    }
  }
}

constexpr double kDropped = 0.4;
LoraDropout Dropout() { return {kDropped, FromVector(DType::kI64, {kTokens}, {7, 8, 9, 100})}; }

// PEFT's DoraLinearLayer in training: W x + (c − 1) W d + c · scale · B A d, d = dropout(x).
TEST(DoraTest, WithDropoutAsPeftHasIt) {
  const Tensor x = Random(DType::kF64, {kTokens, kWidth}, 1), m = Random(DType::kF64, {3}, 2);
  std::vector<LoraAdapter> adapters = Adapters(20);
  adapters[0].dropout_key = 77;
  Tape tape(CpuContext(), Tape::Mode::kForward);
  const Variable in = Variable::Frozen(x);
  const Variable linear = LinearLora(tape, in, {Weights(), {}, adapters}, Dropout());
  const Variable y =
      Dora(tape, linear, Weights(), {}, adapters, {Variable::Frozen(m), Variable()}, in, Dropout());
  const Tensor d = Tensor::Empty(*CpuContext().allocator, DType::kF64, {kTokens, kWidth});
  kernels::Dropout(Stream{}, x, Dropout().token_keys, d.Mutable("test"),
                   {.p = kDropped, .key = 77});
  const auto w = ToVector(Weights().value()), xs = ToVector(x), ds = ToVector(d), ms = ToVector(m);
  const auto a = ToVector(adapters[0].a.value()), b = ToVector(adapters[0].b.value());
  const auto got = ToVector(y.value()), plain = ToVector(linear.value());
  EXPECT_NE(xs, ds);
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t n = 0; n < kOutputs; ++n) {
      double squares = 0, base = 0, dropped = 0, lora = 0;
      for (int64_t c = 0; c < kWidth && n < 3; ++c) {
        const double delta = 0.5 * (b[n * 2] * a[c] + b[n * 2 + 1] * a[kWidth + c]);
        squares += (w[n * kWidth + c] + delta) * (w[n * kWidth + c] + delta);
        base += w[n * kWidth + c] * xs[t * kWidth + c];
        dropped += w[n * kWidth + c] * ds[t * kWidth + c];
        lora += delta * ds[t * kWidth + c];
      }
      const double factor = n < 3 ? ms[n] / std::sqrt(squares) : 1;
      const double want =
          n < 3 ? base + (factor - 1) * dropped + factor * lora : plain[t * kOutputs + n];
      EXPECT_NEAR(got[t * kOutputs + n], want, 1e-12) << n;
    }
  }
}

TEST(DoraTest, GradientsWithDropout) {
  const std::vector<Tensor> inputs = {Random(DType::kF64, {kTokens, kOutputs}, 1),
                                      Random(DType::kF64, {3}, 3), Random(DType::kF64, {4}, 4),
                                      Random(DType::kF64, {kTokens, kWidth}, 5)};
  const CheckedFunction function = [](Tape& tape, absl::Span<const Variable> in) {
    std::vector<LoraAdapter> adapters = Adapters(20);
    adapters[1].dropout_key = 78;
    return std::vector<Variable>{
        Dora(tape, in[0], Weights(), {}, adapters, {in[1], in[2]}, in[3], Dropout())};
  };
  const std::vector<bool> leaves = {false, true, true, false};
  GradCheck("dora", inputs, function, {.as_leaves = leaves, .frozen = {}, .step = 0.01});
  GradCheck("dora, input frozen", inputs, function,
            {.as_leaves = leaves, .frozen = {false, false, false, true}, .step = 0.01});
}

TEST(DoraTest, GradientsOfAllInputs) {
  for (const double scale : {0.01, 1.0, 100.0}) {
    const std::vector<Tensor> inputs = {Random(DType::kF64, {kTokens, kOutputs}, 1, scale),
                                        Random(DType::kF64, {kOutputs}, 2, scale),
                                        Random(DType::kF64, {3}, 3, scale),
                                        Random(DType::kF64, {4}, 4, scale)};
    const CheckedFunction once = [](Tape& tape, absl::Span<const Variable> in) {
      return std::vector<Variable>{
          Dora(tape, in[0], Weights(), in[1], Adapters(20), {in[2], in[3]})};
    };
    const CheckedFunction twice = [&](Tape& tape, absl::Span<const Variable> in) {
      const Variable y = once(tape, in)[0];
      return once(tape, {y, in[1], in[2], in[3]});
    };
    const std::vector<bool> leaves = {false, true, true, true};
    GradCheck("dora", inputs, once, {.as_leaves = leaves, .frozen = {}, .step = 0.01});
    GradCheck("dora twice", inputs, twice, {.as_leaves = leaves, .frozen = {}, .step = 1e-4});
    GradCheck("dora, frozen", inputs, once,
              {.as_leaves = leaves, .frozen = {false, true, true, false}, .step = 0.01});
  }
}

}  // namespace
}  // namespace lockstep::autograd
