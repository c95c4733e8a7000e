#include "tensor/kernels/cross_entropy.h"

#include <algorithm>

#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

Tensor Targets(int64_t rows, int64_t vocab) {
  std::vector<double> targets(rows);
  for (int64_t s = 0; s < rows; ++s) targets[s] = static_cast<double>((s * 7 + 3) % vocab);
  return FromVector(DType::kI32, {rows}, targets);
}

// The equations of the header, one row in double.
double Nll(std::vector<double> l, int64_t target, double cap) {
  for (double& x : l) x = cap > 0 ? cap * std::tanh(x / cap) : x;
  const double largest = *std::max_element(l.begin(), l.end());
  double sum = 0;
  for (const double x : l) sum += std::exp(x - largest);
  return std::log(sum) + largest - l[target];
}

TEST(CrossEntropyTest, EqualsItsDefinitionAndItsOwnDifferences) {
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    for (const int64_t vocab : {1, 2, 16, 17, 301}) {
      for (const double cap : {0.0, 3.0}) {
        for (const double scale : {0.01, 1.0, 30.0}) {
          constexpr int64_t kRows = 3;
          const Tensor x = Random(dtype, {kRows, vocab}, 1, scale);
          const Tensor targets = Targets(kRows, vocab);
          const Guarded logits(dtype, {kRows, vocab}), nll(DType::kF64, {kRows});
          std::memcpy(logits.tensor().view().data, x.view().data, x.view().num_bytes());
          CrossEntropy(CpuContext().stream, logits, targets, nll,
                       {.softcap = cap, .grad_scale = 0.5, .gradient = true});
          const std::vector<double> all = ToVector(x), got = ToVector(logits);
          const double tolerance = dtype == DType::kF64 ? 1e-7 : 3e-6;
          for (int64_t s = 0; s < kRows; ++s) {
            std::vector<double> row(all.begin() + s * vocab, all.begin() + (s + 1) * vocab);
            const int64_t target = static_cast<int64_t>(ToVector(targets)[s]);
            const double want = Nll(row, target, cap);
            EXPECT_NEAR(ToVector(nll)[s], want, tolerance * (1 + std::abs(want)));
            for (int64_t v = 0; v < vocab; ++v) {
              const double h = 1e-5;
              row[v] += h;
              const double above = Nll(row, target, cap);
              row[v] -= 2 * h;
              const double below = Nll(row, target, cap);
              row[v] += h;
              EXPECT_NEAR(got[s * vocab + v], 0.5 * (above - below) / (2 * h), tolerance)
                  << NameOf(dtype) << " V " << vocab << " cap " << cap << " scale " << scale;
            }
          }
        }
      }
    }
  }
}

TEST(CrossEntropyTest, HugeLogitsNeitherOverflowNorLoseTheAnswer) {
  const Tensor logits = FromVector(DType::kF32, {2, 3}, {3e38, -3e38, 0, 1e4, 1e4, -1e4});
  const Tensor targets = FromVector(DType::kI32, {2}, {0, 1});
  const Tensor nll = FromVector(DType::kF64, {2}, {0, 0});
  CrossEntropy(CpuContext().stream, logits, targets, nll, {.gradient = true});
  EXPECT_EQ(ToVector(nll)[0], 0);
  EXPECT_NEAR(ToVector(nll)[1], std::log(2.0), 1e-12);
  EXPECT_EQ(ToVector(logits), (std::vector<double>{0, 0, 0, 0.5, -0.5, 0}));
}

TEST(CrossEntropyTest, ReportsWhatIsNotFinite) {
  for (const double bad : {static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    std::vector<double> values(40, 1.0);
    values[23] = bad;
    const Tensor logits = FromVector(DType::kF32, {1, 40}, values);
    const Tensor nll = FromVector(DType::kF64, {1}, {0});
    CrossEntropy(CpuContext().stream, logits, Targets(1, 40), nll, {});
    EXPECT_FALSE(std::isfinite(ToVector(nll)[0])) << bad;
  }
}

TEST(CrossEntropyDeathTest, RefusesWhatDoesNotFit) {
  const Tensor logits = Random(DType::kF32, {2, 3}, 1), nll = Random(DType::kF64, {2}, 1);
  const Stream stream = CpuContext().stream;
  EXPECT_DEATH(CrossEntropy(stream, logits, FromVector(DType::kI32, {2}, {0, 3}), nll, {}),
               "want one of 3 tokens, got 3");
  EXPECT_DEATH(CrossEntropy(stream, logits, Targets(1, 3), nll, {}), "targets: want shape \\[2\\]");
  EXPECT_DEATH(CrossEntropy(stream, logits, Targets(2, 3), Random(DType::kF32, {2}, 1), {}),
               "nll: want f64");
}

}  // namespace
}  // namespace lockstep::kernels
