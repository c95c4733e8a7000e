#include "tensor/kernels/accumulate.h"
#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(AccumulateCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  for (const int64_t n : AndDrawn<int64_t>({1, 7, 8, 1000, 65536, 70001},
                                           [](Draw& draw) { return draw.Size(300000); })) {
    SCOPED_TRACE(n);
    const Tensor x = Random(DType::kF32, {n}, 1), y = Random(DType::kF32, {n}, 2);
    const Tensor gpu_y = ToGpu(y);
    Accumulate(GpuContext()->stream, ToGpu(x), gpu_y);
    Accumulate(CpuContext().stream, x, y);
    ExpectNear(ToCpu(gpu_y), y, 0, 0);
  }
}

TEST(AccumulateCudaTest, AddsBf16InFp32) {
  SKIP_WITHOUT_GPU();
  for (const int64_t n :
       AndDrawn<int64_t>({5, 64, 4099}, [](Draw& draw) { return draw.Size(30000); })) {
    SCOPED_TRACE(n);
    const Tensor x = Random(DType::kBF16, {n}, 1), y = Random(DType::kBF16, {n}, 2);
    const Tensor gpu_y = ToGpu(y);
    Accumulate(GpuContext()->stream, ToGpu(x), gpu_y);
    const std::vector<double> a = ToVector(x), b = ToVector(y), got = ToVector(ToCpu(gpu_y));
    for (int64_t i = 0; i < n; ++i) {
      const float sum = static_cast<float>(a[i]) + static_cast<float>(b[i]);
      EXPECT_EQ(got[i], Bf16ToFloat(FloatToBf16(sum)));
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
