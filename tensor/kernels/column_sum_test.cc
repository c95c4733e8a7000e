#include "tensor/kernels/column_sum.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(ColumnSumTest, AddsTheRows) {
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    for (const int64_t columns : {1, 255, 257, 600}) {
      const Tensor x = Random(dtype, {7, columns + 2}, 1).Slice(1, 1, columns + 1);
      const std::vector<double> in = ToVector(x);
      const Guarded y(dtype, {columns});
      ColumnSum(CpuContext().stream, x, false, y);
      ColumnSum(CpuContext().stream, x, true, y);
      const std::vector<double> got = ToVector(y);
      for (int64_t n = 0; n < columns; ++n) {
        double want = 0;
        for (int t = 0; t < 7; ++t) want += 2 * in[t * columns + n];
        EXPECT_NEAR(got[n], want, 1e-5) << n;
      }
    }
  }
}

TEST(ColumnSumTest, NoRowsSumToZero) {
  const Tensor y = FromVector(DType::kF32, {2}, {5, 6});
  ColumnSum(CpuContext().stream, Random(DType::kF32, {0, 2}, 1), true, y);
  EXPECT_EQ(ToVector(y), (std::vector<double>{5, 6}));
  ColumnSum(CpuContext().stream, Random(DType::kF32, {0, 2}, 1), false, y);
  EXPECT_EQ(ToVector(y), (std::vector<double>{0, 0}));
}

TEST(ColumnSumDeathTest, RefusesWhatDoesNotFit) {
  const Tensor x = Random(DType::kF32, {2, 3}, 1);
  EXPECT_DEATH(ColumnSum(CpuContext().stream, x, false, Random(DType::kF32, {2}, 1)),
               "y: want shape \\[3\\]");
  EXPECT_DEATH(ColumnSum(CpuContext().stream, x, false, Random(DType::kF64, {3}, 1)), "want f32");
}

}  // namespace
}  // namespace lockstep::kernels
