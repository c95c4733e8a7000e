#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/fixed_point.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(FixedPointCudaTest, MatchesTheCpuBitForBit) {
  SKIP_WITHOUT_GPU();
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    for (const int64_t n :
         AndDrawn<int64_t>({1, 5, 4096, 100001}, [](Draw& draw) { return draw.Size(100000); })) {
      SCOPED_TRACE(n);
      Tensor x = Random(dtype, {n}, 1, 1e-3);
      if (n > 10) {
        for (int64_t i = 0; i < 5; ++i) {
          const double bad[] = {NAN, INFINITY, -INFINITY, 1e30, -2000.0};
          SetElement(x.view().data, dtype, i * 2, bad[i]);
        }
      }
      const Tensor sum = FromVector(DType::kI64, {n}, std::vector<double>(n, 12345));
      const Tensor overflow = FromVector(DType::kI64, {1}, {7});
      const Tensor gpu_sum = ToGpu(sum), gpu_overflow = ToGpu(overflow), gpu_x = ToGpu(x);
      for (int times = 0; times < 2; ++times) {
        AddFixedPoint(CpuContext().stream, x, kGradientFractionBits, 8, sum, overflow);
        AddFixedPoint(GpuContext()->stream, gpu_x, kGradientFractionBits, 8, gpu_sum, gpu_overflow);
      }
      const Tensor back = ToCpu(gpu_sum);
      for (int64_t i = 0; i < n; ++i) {
        ASSERT_EQ(back.view().as<int64_t>()[i], sum.view().as<int64_t>()[i]) << i;
      }
      EXPECT_EQ(ToVector(ToCpu(gpu_overflow)), ToVector(overflow));
      const Tensor y = Tensor::Empty(*CpuContext().allocator, dtype, {n});
      const GpuGuarded gpu_y(dtype, {n});
      FromFixedPoint(CpuContext().stream, sum, kGradientFractionBits, y);
      FromFixedPoint(GpuContext()->stream, gpu_sum, kGradientFractionBits, gpu_y);
      EXPECT_EQ(ToVector(ToCpu(gpu_y.tensor())), ToVector(y));
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
