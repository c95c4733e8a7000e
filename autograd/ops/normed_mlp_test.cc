#include "autograd/ops/normed_mlp.h"

#include "autograd/gradcheck.h"
#include "autograd/ops/glu.h"
#include "autograd/ops/linear_lora.h"
#include "tensor/kernels/testing.h"
#include "tensor/parking.h"

namespace lockstep::autograd {
namespace {

using kernels::CpuContext;
using kernels::ExpectNear;
using kernels::FromVector;
using kernels::Random;

constexpr int64_t kTokens = 5, kWidth = 6, kFfn = 8;

// residual, W of gate and up, W of down, then A and B of gate, up and down, branch, weight.
std::vector<Tensor> Inputs() {
  return {Random(DType::kF64, {kTokens, kWidth}, 1),
          Random(DType::kF64, {2 * kFfn, kWidth}, 2, 0.5),
          Random(DType::kF64, {kWidth, kFfn}, 3, 0.5),
          Random(DType::kF64, {2, kWidth}, 4),
          Random(DType::kF64, {kFfn, 2}, 5),
          Random(DType::kF64, {3, kWidth}, 6),
          Random(DType::kF64, {kFfn, 3}, 7),
          Random(DType::kF64, {4, kFfn}, 8),
          Random(DType::kF64, {kWidth, 4}, 9),
          Random(DType::kF64, {kTokens, kWidth}, 10),
          Random(DType::kF64, {kWidth}, 11)};
}

ResidualInput Head(absl::Span<const Variable> in) { return {in[0], in[9], Variable(), in[10], {}}; }

LoraLayer GateUp(absl::Span<const Variable> in) {
  return {in[1], Variable(), {{in[3], in[4], 0.5, 0, 1}, {in[5], in[6], -1.5, kFfn, 2}}};
}
LoraLayer Down(absl::Span<const Variable> in) {
  return {in[2], Variable(), {{in[7], in[8], 0.75, 0, 3}}};
}

LoraDropout Dropout(double p) {
  if (p == 0) return {};
  return {p, FromVector(DType::kI64, {kTokens}, {3, 14, 15, 92, 65})};
}

CheckedFunction Fused(double p) {
  return [p](Tape& tape, absl::Span<const Variable> in) {
    const NormedResult result =
        NormedMlp(tape, Head(in), GateUp(in), Down(in), GluActivation::kSilu, Dropout(p));
    return std::vector<Variable>{result.sum, result.y};
  };
}

TEST(NormedMlpTest, IsTheUnitBetweenTwoLinears) {
  std::vector<Variable> in;
  for (const Tensor& tensor : Inputs()) in.push_back(Variable::Frozen(tensor));
  Tape tape(CpuContext(), Tape::Mode::kForward);
  const LoraLayer wide = GateUp(in), down = Down(in);
  const Variable x = AddRmsNorm(tape, Head(in)).normed;
  for (const double p : {0.0, 0.4}) {
    const Variable gate_up = LinearLora(tape, x, wide, Dropout(p));
    const Variable product = Glu(tape, gate_up, GluActivation::kSilu);
    const Variable y = LinearLora(tape, product, down, Dropout(p));
    ExpectNear(Fused(p)(tape, in)[1].value(), y.value(), 1e-12, 1e-12);
  }
}

TEST(NormedMlpTest, GradientsAreRight) {
  const GradCheckOptions options = {
      .as_leaves = {false, true, true, true, true, true, true, true, true, false, true},
      .frozen = {false, true, true}};
  for (const double p : {0.0, 0.4}) GradCheck("normed_mlp", Inputs(), Fused(p), options);
}

TEST(NormedMlpTest, OneAdapterForBothHalves) {
  const std::vector<Tensor> inputs = {
      Random(DType::kF64, {kTokens, kWidth}, 1),   Random(DType::kF64, {2 * kFfn, kWidth}, 2, 0.5),
      Random(DType::kF64, {kWidth, kFfn}, 3, 0.5), Random(DType::kF64, {2, kWidth}, 4),
      Random(DType::kF64, {2 * kFfn, 2}, 5),       Random(DType::kF64, {kWidth}, 6)};
  const auto function = [](Tape& tape, absl::Span<const Variable> in) -> std::vector<Variable> {
    const NormedResult result = NormedMlp(tape, {in[0], {}, Variable(), in[5], {}},
                                          {in[1], Variable(), {{in[3], in[4], 2, 0}}},
                                          {in[2], Variable(), {}}, GluActivation::kGeluTanh);
    return {result.sum, result.y};
  };
  GradCheck("normed_mlp", inputs, function,
            {.as_leaves = {false, true, true, true, true, true},
             .frozen = {false, true, true, false, false, true}});
}

// A segment's end: neither its output nor what only leads there is computed again.
TEST(NormedMlpTest, DifferentiatesAsTheEndOfASegment) {
  const Tape::Segment segment = [](Tape& t, absl::Span<const Variable> x) {
    const NormedResult result = NormedMlp(t, Head(x), GateUp(x), Down(x), GluActivation::kSilu,
                                          Dropout(0.4), /*ends_segment=*/true);
    return std::vector<Variable>{result.sum, result.y};
  };
  const GradCheckOptions options = {
      .as_leaves = {false, true, true, true, true, true, true, true, true, false, true},
      .frozen = {false, true, true}};
  CpuAllocator host;
  Parking parking(CpuContext(), CpuContext().stream, &host);
  for (Parking* const place : {static_cast<Parking*>(nullptr), &parking}) {
    const CheckedFunction f = [&](Tape& tape, absl::Span<const Variable> in) {
      return tape.Checkpoint("segment", in, segment, place);
    };
    GradCheck(place == nullptr ? "segment" : "parked", Inputs(), f, options);
  }
}

}  // namespace
}  // namespace lockstep::autograd
