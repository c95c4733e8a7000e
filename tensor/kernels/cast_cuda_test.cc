#include "tensor/kernels/cast.h"
#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(CastCudaTest, MatchesTheCpuBitForBit) {
  SKIP_WITHOUT_GPU();
  for (const DType from : {DType::kF32, DType::kBF16}) {
    for (const DType to : {DType::kF32, DType::kBF16}) {
      for (const int64_t n : AndDrawn<int64_t>({1, 8, 63, 4096, 10001},
                                               [](Draw& draw) { return draw.Size(60000); })) {
        SCOPED_TRACE(n);
        const Tensor x = Random(from, {3, n}, 1);
        const Tensor want = Tensor::Empty(*CpuContext().allocator, to, {3, n});
        Cast(CpuContext().stream, x, want);
        const GpuGuarded got(to, {3, n});
        Cast(GpuContext()->stream, ToGpu(x), got);
        EXPECT_EQ(ToVector(ToCpu(got.tensor())), ToVector(want));
      }
    }
  }
}

TEST(CastCudaTest, ReadsAndWritesStridedRows) {
  SKIP_WITHOUT_GPU();
  const Tensor x = Random(DType::kF32, {6, 40}, 1);
  const GpuGuarded got(DType::kBF16, {6, 10});
  Cast(GpuContext()->stream, ToGpu(x).Slice(1, 20, 30), got);
  const Tensor want = Tensor::Empty(*CpuContext().allocator, DType::kBF16, {6, 10});
  Cast(CpuContext().stream, x.Slice(1, 20, 30), want);
  EXPECT_EQ(ToVector(ToCpu(got.tensor())), ToVector(want));
}

}  // namespace
}  // namespace lockstep::kernels
