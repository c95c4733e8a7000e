#include "tensor/kernels/dora.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

constexpr int64_t kOutputs = 130, kWidth = 33, kRank = 3, kTokens = 19;

TEST(DoraTest, NormIsOfTheMergedRows) {
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    for (const DType stored : {dtype, DType::kBF16, DType::kF16}) {
      const Tensor w = Random(stored, {kOutputs, kWidth}, 1), a = Random(dtype, {kRank, kWidth}, 2);
      const Tensor b = Random(dtype, {kOutputs, kRank}, 3);
      const Guarded norm(dtype, {kOutputs});
      DoraNorm(CpuContext().stream, w, a, b, 0.5, norm);
      const std::vector<double> ws = ToVector(w), as = ToVector(a), bs = ToVector(b);
      for (int64_t n = 0; n < kOutputs; ++n) {
        double sum = 0;
        for (int64_t c = 0; c < kWidth; ++c) {
          double merged = ws[n * kWidth + c];
          for (int64_t r = 0; r < kRank; ++r) {
            merged += 0.5 * bs[n * kRank + r] * as[r * kWidth + c];
          }
          sum += merged * merged;
        }
        EXPECT_NEAR(ToVector(norm)[n], std::sqrt(sum), 1e-5) << NameOf(stored);
      }
    }
  }
}

TEST(DoraTest, ScalesColumnsForwardAndBackward) {
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    const Tensor x = Random(dtype, {kTokens, kOutputs}, 1),
                 dy = Random(dtype, {kTokens, kOutputs}, 2);
    const Tensor m = Random(dtype, {kOutputs}, 3), bias = Random(DType::kBF16, {kOutputs}, 4);
    std::vector<double> norms = ToVector(Random(dtype, {kOutputs}, 5));
    for (double& v : norms) v = 1 + std::abs(v);
    const Tensor norm = FromVector(dtype, {kOutputs}, norms);
    const Guarded y(dtype, {kTokens, kOutputs}), dx(dtype, {kTokens, kOutputs});
    const Guarded dm(dtype, {kOutputs});
    DoraForward(CpuContext().stream, x, m, norm, bias, y);
    DoraBackward(CpuContext().stream, dy, x, m, norm, dx, false, dm);
    DoraBackward(CpuContext().stream, dy, x, m, norm, dx, true, dm);
    const std::vector<double> xs = ToVector(x), ds = ToVector(dy), ms = ToVector(m);
    const std::vector<double> got_y = ToVector(y), got_dx = ToVector(dx);
    for (int64_t n = 0; n < kOutputs; ++n) {
      double sum = 0;
      for (int64_t t = 0; t < kTokens; ++t) {
        const int64_t i = t * kOutputs + n;
        EXPECT_NEAR(got_y[i], ms[n] / norms[n] * xs[i] + ToVector(bias)[n], 1e-5);
        EXPECT_NEAR(got_dx[i], ms[n] / norms[n] * ds[i], 1e-5);
        sum += 2 * ds[i] * xs[i] / norms[n];
      }
      EXPECT_NEAR(ToVector(dm)[n], sum, 1e-5);
    }
  }
}

TEST(DoraDeathTest, RefusesWhatDoesNotFit) {
  const Tensor x = Random(DType::kF32, {2, 3}, 1), m = Random(DType::kF32, {3}, 1);
  const Stream stream = CpuContext().stream;
  EXPECT_DEATH(DoraForward(stream, x, Random(DType::kF32, {2}, 1), m, View{}, x),
               "m: want shape \\[3\\]");
  EXPECT_DEATH(DoraForward(stream, x, m, Random(DType::kF64, {3}, 1), View{}, x), "norm: want f32");
}

}  // namespace
}  // namespace lockstep::kernels
