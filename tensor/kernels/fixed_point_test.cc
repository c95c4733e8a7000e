#include "tensor/kernels/fixed_point.h"

#include "base/thread_pool.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

const Stream kStream = CpuContext().stream;

Tensor Zeros(int64_t n) { return FromVector(DType::kI64, {n}, std::vector<double>(n, 0.0)); }

int64_t At(const View& x, int64_t i) { return x.as<int64_t>()[i]; }

TEST(FixedPointTest, RoundsToTheNearestQuantumTiesToEven) {
  const double q = 0x1p-50;
  const Tensor x =
      FromVector(DType::kF64, {8}, {0, q, 0.5 * q, 1.5 * q, 2.5 * q, -0.5 * q, -1.5 * q, 1.0});
  const Tensor sum = Zeros(8), overflow = Zeros(1);
  AddFixedPoint(kStream, x, 50, 1, sum, overflow);
  const int64_t want[] = {0, 1, 0, 2, 2, 0, -2, int64_t{1} << 50};
  for (int i = 0; i < 8; ++i) EXPECT_EQ(At(sum, i), want[i]) << i;
  EXPECT_EQ(At(overflow, 0), 0);
  AddFixedPoint(kStream, x, 50, 1, sum, overflow);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(At(sum, i), 2 * want[i]) << "adds: " << i;
}

TEST(FixedPointTest, AnyOrderGivesTheSameBits) {
  std::vector<Tensor> packs;
  for (uint32_t i = 0; i < 6; ++i) packs.push_back(Random(DType::kF32, {20000}, i, 1e-3));
  const auto sum_of = [&](const std::vector<int>& order, int threads) {
    SetNumThreads(threads);
    const Tensor sum = Zeros(20000), overflow = Zeros(1);
    for (const int i : order) AddFixedPoint(kStream, packs[i], 50, 6, sum, overflow);
    EXPECT_EQ(At(overflow, 0), 0);
    return std::vector<int64_t>(sum.view().as<int64_t>(), sum.view().as<int64_t>() + 20000);
  };
  const std::vector<int64_t> forward = sum_of({0, 1, 2, 3, 4, 5}, 1);
  EXPECT_EQ(sum_of({5, 3, 1, 4, 2, 0}, 4), forward);
  EXPECT_NE(sum_of({0, 1, 2, 3, 4}, 1), forward);
}

TEST(FixedPointTest, StaysWithinItsErrorBound) {  // docs/numerics.md: half a quantum a pack
  std::vector<double> exact(1000, 0.0);
  const Tensor sum = Zeros(1000), overflow = Zeros(1), y = Random(DType::kF64, {1000}, 1);
  for (uint32_t pack = 0; pack < 8; ++pack) {
    const Tensor x = Random(DType::kF64, {1000}, pack, 1e-6);
    const std::vector<double> values = ToVector(x);
    for (int i = 0; i < 1000; ++i) exact[i] += values[i];
    AddFixedPoint(kStream, x, 50, 8, sum, overflow);
  }
  FromFixedPoint(kStream, sum, 50, y);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_LE(std::abs(ToVector(y)[i] - exact[i]), 8 * 0x1p-51 + 1e-20);
  }
}

TEST(FixedPointTest, CountsWhatDoesNotFitAndLeavesItOut) {
  const double largest = std::ldexp(FixedPointLimit(3), -50);
  const Tensor x = FromVector(
      DType::kF64, {7},
      {largest, -largest, std::nextafter(largest, 1e9), 1e300, NAN, INFINITY, -INFINITY});
  const Tensor sum = Zeros(7), overflow = Zeros(1);
  for (int i = 0; i < 3; ++i) AddFixedPoint(kStream, x, 50, 3, sum, overflow);
  EXPECT_EQ(At(overflow, 0), 3 * 5);
  EXPECT_EQ(At(sum, 0), 3 * static_cast<int64_t>(FixedPointLimit(3))) << "and did not wrap";
  EXPECT_EQ(At(sum, 1), -At(sum, 0));
  for (int i = 2; i < 7; ++i) EXPECT_EQ(At(sum, i), 0);
}

TEST(FixedPointTest, TheLimitNeverLetsASumWrap) {
  for (const int64_t terms : {1, 2, 3, 7, 8, 1000, 123457}) {
    const int64_t limit = static_cast<int64_t>(FixedPointLimit(terms));
    EXPECT_EQ(static_cast<double>(limit), FixedPointLimit(terms));
    EXPECT_LE(limit, INT64_MAX / terms);
    EXPECT_GE(limit, INT64_MAX / terms - 1023);
  }
}

TEST(FixedPointTest, ComesBackAsItWasInFp32) {
  for (const int64_t n : {1, 16383, 16385}) {
    const Tensor x = Random(DType::kF32, {n}, 1), sum = Zeros(n), overflow = Zeros(1);
    const Guarded y(DType::kF32, {n});
    AddFixedPoint(kStream, x, 50, 1, sum, overflow);
    FromFixedPoint(kStream, sum, 50, y);
    ExpectNear(y, x, 0, 0x1p-51);
  }
}

TEST(FixedPointDeathTest, RefusesOtherTypes) {
  EXPECT_DEATH(AddFixedPoint(kStream, Zeros(3), 50, 1, Zeros(3), Zeros(1)), "want f32");
  EXPECT_DEATH(AddFixedPoint(kStream, Random(DType::kF32, {3}, 1), 50, 1, Zeros(4), Zeros(1)),
               "\\[fixed_point\\] sum: want shape \\[3\\]");
}

}  // namespace
}  // namespace lockstep::kernels
