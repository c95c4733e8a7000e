#include "autograd/ops/wide_matrix.h"

#include "autograd/ops/linear_lora.h"
#include "tensor/kernels/e4m3.h"
#include "tensor/kernels/quantized.h"
#include "tensor/kernels/testing.h"

namespace lockstep::autograd {
namespace {

using kernels::CpuContext;
using kernels::ExpectNear;
using kernels::FromVector;
using kernels::Random;
using kernels::ToVector;

constexpr int64_t kTokens = 5, kInputs = 32, kOutputs = 48;

Fp8Image ImageOf(const Tensor& w) {
  const Fp8Image image = Fp8Image::Empty(CpuContext(), w.dim(0), w.dim(1));
  image.SetRows(CpuContext(), 0, w.Slice(0, 0, 16));
  image.SetRows(CpuContext(), 16, w.Slice(0, 16, w.dim(0)));
  image.Finish(CpuContext());
  return image;
}

// scales ∘ codes.
Tensor Decoded(const kernels::ScaledRows& x) {
  std::vector<double> values = ToVector(x.codes);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = kernels::E4m3ToFloat(static_cast<uint8_t>(values[i])) *
                ToVector(x.scales)[i / static_cast<size_t>(x.codes.shape[1])];
  }
  return FromVector(DType::kF32, {x.codes.shape[0], x.codes.shape[1]}, values);
}

// x as a product sees it.
Tensor Rounded(const Tensor& x) { return Decoded(kernels::Quantized(CpuContext(), x)); }

struct Layer {
  Tensor w = Random(DType::kF32, {kOutputs, kInputs}, 1, 0.02);
  Fp8Image image = ImageOf(w);
  Tensor known = Decoded({image.codes, image.scales});  // W as it is multiplied
};

TEST(WideMatrixTest, AnImageIsWInBothDirections) {
  const Layer layer;
  ExpectNear(layer.known, layer.w, 1.0 / 16, 1e-6);
  const Tensor transposed = Decoded({layer.image.transposed, layer.image.ones});
  for (int64_t n = 0; n < kOutputs; ++n) {
    for (int64_t c = 0; c < kInputs; ++c) {
      EXPECT_EQ(transposed.view().as<float>()[c * kOutputs + n] *
                    layer.image.scales.view().as<float>()[n],
                layer.known.view().as<float>()[n * kInputs + c]);
    }
  }
}

TEST(WideMatrixTest, OutputsAreThoseOfWhatWasRounded) {
  const Layer layer;
  const WideMatrix matrix(layer.image.codes, layer.image);
  const Tensor x = Random(DType::kF32, {kTokens, kInputs}, 2),
               bias = Random(DType::kF32, {kOutputs}, 3);
  const Tensor y = Random(DType::kF32, {kTokens, kOutputs}, 4), want = kernels::As(DType::kF32, y);
  WideMatrix(layer.known, {}).Outputs(CpuContext(), Rounded(x), want.Mutable("test"), 1, bias);
  matrix.Outputs(CpuContext(), x, y.Mutable("test"), 1, bias);
  ExpectNear(y, want, 1e-5, 1e-6);
}

// The gradient takes the scales of W with dy into its codes: against dy W in fp32 it is off by at
// most a sixteenth of each term, and of the least code's step.
TEST(WideMatrixTest, InputsAreTheGradientButForTheRoundingOfDy) {
  const Layer layer;
  const Tensor dy = Random(DType::kF32, {kTokens, kOutputs}, 5, 1e-6);
  const Tensor dx = Random(DType::kF32, {kTokens, kInputs}, 6, 1e-8),
               want = kernels::As(DType::kF32, dx);
  const std::vector<double> before = ToVector(dx);
  WideMatrix(layer.known, {}).Inputs(CpuContext(), dy, want.Mutable("test"), 1);
  WideMatrix(layer.image.codes, layer.image).Inputs(CpuContext(), dy, dx.Mutable("test"), 1);
  const std::vector<double> got = ToVector(dx), exact = ToVector(want), w = ToVector(layer.known),
                            gradient = ToVector(dy);
  double difference = 0, norm = 0;
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t c = 0; c < kInputs; ++c) {
      double terms = 0;
      for (int64_t n = 0; n < kOutputs; ++n) {
        terms += std::abs(gradient[t * kOutputs + n] * w[n * kInputs + c]);
      }
      const int64_t i = t * kInputs + c;
      EXPECT_LE(std::abs(got[i] - exact[i]), 1.01 * terms / 16);
      difference += std::pow(got[i] - exact[i], 2);
      norm += std::pow(exact[i] - before[i], 2);
    }
  }
  EXPECT_LT(std::sqrt(difference / norm), 0.04);
  EXPECT_GT(difference, 0);
}

// The whole layer on the tape: adapters are computed as ever, from x and dy as they are.
TEST(WideMatrixTest, ALayerWithLora) {
  const Layer layer;
  const Tensor x = Random(DType::kF32, {kTokens, kInputs}, 2),
               dy = Random(DType::kF32, {kTokens, kOutputs}, 3);
  const auto run = [&](const Tensor& w, const Fp8Image& image) {
    Tape tape(CpuContext());
    const Tensor a = Random(DType::kF32, {4, kInputs}, 4), b = Random(DType::kF32, {16, 4}, 5);
    const std::vector<Tensor> gradients = {
        Tensor::Empty(*CpuContext().allocator, DType::kF32, {4, kInputs}),
        Tensor::Empty(*CpuContext().allocator, DType::kF32, {16, 4})};
    const Variable in = Tape::Input(x);
    const Variable y = LinearLora(tape, in,
                                  LoraLayer{Variable::Frozen(w),
                                            {},
                                            {{Variable::Leaf("a", a, gradients[0]),
                                              Variable::Leaf("b", b, gradients[1]), 2, 16}},
                                            image});
    tape.Backward({y}, {dy}, [](const Variable&) {});
    return std::vector<Tensor>{y.value(), Tape::GradientOf(in), gradients[0], gradients[1]};
  };
  const std::vector<Tensor> got = run(layer.image.codes, layer.image), want = run(layer.known, {});
  ExpectNear(got[0], want[0], 0, 0.1);
  ExpectNear(got[1], want[1], 0, 0.05);
  EXPECT_EQ(ToVector(got[2]), ToVector(want[2]));
  EXPECT_EQ(ToVector(got[3]), ToVector(want[3]));
}

}  // namespace
}  // namespace lockstep::autograd
