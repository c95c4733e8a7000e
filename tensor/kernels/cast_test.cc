#include "tensor/kernels/cast.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

const Stream kStream = CpuContext().stream;
constexpr DType kTypes[] = {DType::kF64, DType::kF32, DType::kBF16, DType::kF16};

TEST(CastTest, RoundsToNearestEvenBetweenAllTypes) {
  for (const DType from : kTypes) {
    for (const DType to : kTypes) {
      for (const int64_t n : {1, 255, 512, 70000}) {
        const Tensor x = Random(from, {n}, 5, 3.0);
        const Guarded y(to, {n});
        Cast(kStream, x, y);
        const std::vector<double> in = ToVector(x), out = ToVector(y);
        for (int64_t i = 0; i < n; ++i) {
          uint64_t bits = 0;
          SetElement(&bits, to, 0, in[i]);
          ASSERT_EQ(out[i], GetElement(&bits, to, 0)) << NameOf(from) << " to " << NameOf(to);
        }
      }
    }
  }
}

TEST(CastTest, CopiesSlices) {
  const Tensor x = FromVector(DType::kF32, {2, 2, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  const Guarded y(DType::kF32, {2, 2, 2});
  Cast(kStream, x.Slice(2, 1, 3), y);
  EXPECT_EQ(ToVector(y), (std::vector<double>{2, 3, 5, 6, 8, 9, 11, 12}));
  Cast(kStream, FromVector(DType::kF64, {2, 1, 3}, {0, 0, 0, 0, 0, 0}), x.Slice(1, 1, 2));
  EXPECT_EQ(ToVector(x), (std::vector<double>{1, 2, 3, 0, 0, 0, 7, 8, 9, 0, 0, 0}));
}

TEST(CastDeathTest, RefusesOtherShapesAndIntegers) {
  const Tensor x = Random(DType::kF32, {4}, 1);
  EXPECT_DEATH(Cast(kStream, x, Random(DType::kF32, {2, 2}, 1)), "want one shape");
  EXPECT_DEATH(Cast(kStream, x, FromVector(DType::kI64, {4}, {1, 2, 3, 4})), "floating-point");
}

}  // namespace
}  // namespace lockstep::kernels
