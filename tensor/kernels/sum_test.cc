#include "tensor/kernels/sum.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(SumTest, AddsEveryElementOnce) {
  for (const int64_t n : {0, 1, 1023, 1025, 5000}) {
    std::vector<double> values(n);
    for (int64_t i = 0; i < n; ++i) values[i] = static_cast<double>(i + 1);
    const Guarded y(DType::kF64, {1});
    Sum(CpuContext().stream, FromVector(DType::kF64, {n}, values), 0.5, y);
    EXPECT_EQ(ToVector(y)[0], static_cast<double>(n * (n + 1)) / 4);
  }
}

TEST(SumDeathTest, RefusesOtherTypes) {
  EXPECT_DEATH(
      Sum(CpuContext().stream, Random(DType::kF32, {3}, 1), 1, Random(DType::kF64, {1}, 1)),
      "x: want f64");
}

}  // namespace
}  // namespace lockstep::kernels
