#include "tensor/kernels/norm.h"

#include "base/thread_pool.h"
#include "tensor/kernels/fixed_point.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

const Stream kStream = CpuContext().stream;

double NormOf(const Tensor& x) {
  const Guarded norm(DType::kF64, {1}), partials(DType::kF64, {NormPartials(x.numel())});
  Norm(kStream, x, norm, partials);
  return ToVector(norm)[0];
}

double Clip(double norm, double max_norm) {
  const Tensor coefficient = FromVector(DType::kF64, {1}, {-1});
  ClipCoefficient(kStream, FromVector(DType::kF64, {1}, {norm}), max_norm, coefficient);
  return ToVector(coefficient)[0];
}

TEST(NormTest, IsTheRootOfTheSumOfSquaresAtBoundarySizes) {
  EXPECT_EQ(NormOf(FromVector(DType::kF32, {2}, {3, 4})), 5.0);
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    for (const int64_t n :
         {int64_t{1}, int64_t{17}, kNormChunk - 1, kNormChunk, 3 * kNormChunk + 1}) {
      const Tensor x = Random(dtype, {n}, 1, 1e-3);
      long double sum = 0;
      for (const double v : ToVector(x)) sum += static_cast<long double>(v) * v;
      EXPECT_NEAR(NormOf(x), static_cast<double>(std::sqrt(sum)), 1e-14);
    }
  }
}

TEST(NormTest, ReadsQuanta) {
  const Tensor x = Random(DType::kF64, {40000}, 1, 1e-2);
  const Tensor sum = FromVector(DType::kI64, {40000}, std::vector<double>(40000, 0));
  AddFixedPoint(kStream, x, kGradientFractionBits, 1, sum, FromVector(DType::kI64, {1}, {0}));
  EXPECT_NEAR(NormOf(sum), NormOf(x), 1e-12);
}

TEST(NormTest, BitsDoNotDependOnThreads) {
  const Tensor x = Random(DType::kF32, {5 * kNormChunk + 3}, 1);
  SetNumThreads(1);
  const double one = NormOf(x);
  SetNumThreads(3);
  EXPECT_EQ(NormOf(x), one);
}

// As ranks do that share a gradient: parts at chunks, in any order.
TEST(NormTest, PartsGiveTheBitsOfTheWhole) {
  const int64_t n = 5 * kNormChunk + 3, cut = 2 * kNormChunk;
  const Tensor x = Random(DType::kF32, {n}, 1);
  const Tensor partials = FromVector(DType::kF64, {6}, std::vector<double>(6, -1));
  const Tensor norm = FromVector(DType::kF64, {1}, {-1});
  SquareSums(kStream, x.Slice(0, cut, n), partials.Slice(0, 2, 6).Mutable("test"));
  SquareSums(kStream, x.Slice(0, 0, cut), partials.Slice(0, 0, 2).Mutable("test"));
  RootOfSum(kStream, partials, norm);
  EXPECT_EQ(ToVector(norm)[0], NormOf(x));
}

TEST(NormTest, ClipsAsTorchDoes) {
  EXPECT_EQ(Clip(0.5, 1.0), 1.0);
  EXPECT_EQ(Clip(1.0, 1.0), 1.0 / (1.0 + 1e-6));
  EXPECT_EQ(Clip(10.0, 1.0), 1.0 / (10.0 + 1e-6));
  EXPECT_EQ(Clip(10.0, 0.0), 1.0) << "0 means no clipping";
  EXPECT_TRUE(std::isnan(Clip(NAN, 1.0)));
  EXPECT_TRUE(std::isnan(Clip(INFINITY, 1.0)));
  EXPECT_TRUE(std::isnan(Clip(NAN, 0.0)));
}

}  // namespace
}  // namespace lockstep::kernels
