#include "tensor/kernels/glu.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

const Stream kStream = CpuContext().stream;

double Act(double z, GluActivation activation) {
  if (activation == GluActivation::kSilu) return z / (1 + std::exp(-z));
  return z / 2 * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (z + 0.044715 * z * z * z)));
}

TEST(GluTest, FollowsItsFormulaAtBoundarySizes) {
  for (const GluActivation activation : {GluActivation::kSilu, GluActivation::kGeluTanh}) {
    for (const DType dtype : {DType::kF32, DType::kF64}) {
      for (const int64_t tokens : {1, 7, 8, 9}) {
        for (const int64_t width : {1, 15, 33}) {
          const Tensor x = Random(dtype, {tokens, 2 * width}, 1, 4.0);
          const Guarded y(dtype, {tokens, width});
          Glu(kStream, x, activation, y);
          const std::vector<double> in = ToVector(x), got = ToVector(y);
          for (int64_t i = 0; i < tokens * width; ++i) {
            const int64_t at = i / width * 2 * width + i % width;
            const double want = Act(in[at], activation) * in[at + width];
            // GELU's 1 + tanh cancels for negative gates: an absolute part of the gate's size.
            const double eps = dtype == DType::kF32 ? 0x1p-23 : 0x1p-52;
            EXPECT_NEAR(got[i], want, eps * (4 * std::abs(want) + 4 * std::abs(in[at + width])));
          }
        }
      }
    }
  }
}

TEST(GluTest, LargeGatesSaturate) {
  const Tensor x = FromVector(DType::kF32, {2, 2}, {200, 3, -200, 3});
  const Tensor y = Random(DType::kF32, {2, 1}, 1), dy = FromVector(DType::kF32, {2, 1}, {1, 1});
  for (const GluActivation activation : {GluActivation::kSilu, GluActivation::kGeluTanh}) {
    Glu(kStream, x, activation, y);
    EXPECT_EQ(ToVector(y)[0], 600);
    EXPECT_NEAR(ToVector(y)[1], 0, 1e-30);
    const Guarded dx(DType::kF32, {2, 2});
    GluBackward(kStream, dy, x, activation, dx);
    ExpectNear(dx, FromVector(DType::kF32, {2, 2}, {3, 200, 0, 0}), 1e-6, 1e-30);
  }
}

TEST(GluTest, TheGradientMayReplaceTheInput) {
  const Tensor x = Random(DType::kF64, {5, 6}, 1), dy = Random(DType::kF64, {5, 3}, 2),
               dx = Random(DType::kF64, {5, 6}, 3);
  GluBackward(kStream, dy, x, GluActivation::kSilu, dx);
  GluBackward(kStream, dy, x, GluActivation::kSilu, x);
  EXPECT_EQ(ToVector(x), ToVector(dx));
}

TEST(GluDeathTest, RefusesOtherWidths) {
  const Tensor x = Random(DType::kF32, {2, 8}, 1), y = Random(DType::kF32, {2, 8}, 1);
  EXPECT_DEATH(Glu(kStream, x, GluActivation::kSilu, y), "\\[glu\\] y: want shape \\[2, 4\\]");
}

}  // namespace
}  // namespace lockstep::kernels
