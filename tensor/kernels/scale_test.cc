#include "tensor/kernels/scale.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(ScaleTest, ScalesAddsAndWorksInPlace) {
  const Tensor factor = FromVector(DType::kF64, {1}, {0.5});
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    for (const int64_t n : {0, 1, 40000}) {
      const Tensor x = Random(dtype, {n}, 1);
      const std::vector<double> in = ToVector(x);
      const Guarded y(dtype, {n});
      Scale(CpuContext().stream, x, factor, false, y);
      Scale(CpuContext().stream, x, factor, true, y);
      EXPECT_EQ(ToVector(y), in);
      Scale(CpuContext().stream, x, factor, false, x);
      for (int64_t i = 0; i < n; ++i) ASSERT_EQ(ToVector(x.Slice(0, i, i + 1))[0], in[i] / 2);
    }
  }
}

TEST(ScaleDeathTest, RefusesWhatDoesNotFit) {
  const Tensor x = Random(DType::kF32, {3}, 1);
  const Tensor factor = FromVector(DType::kF64, {1}, {0.5});
  EXPECT_DEATH(Scale(CpuContext().stream, x, factor, false, Random(DType::kF32, {2}, 1)),
               "x: want");
  EXPECT_DEATH(Scale(CpuContext().stream, x, x, false, x), "factor: want shape \\[1\\]");
}

}  // namespace
}  // namespace lockstep::kernels
