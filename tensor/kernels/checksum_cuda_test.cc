#include "tensor/kernels/checksum.h"
#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(ChecksumCudaTest, IsThatOfTheCpu) {
  SKIP_WITHOUT_GPU();
  for (const int64_t n : AndDrawn<int64_t>({0, 2, 1000, 16384, 16386, 5'000'000},
                                           [](Draw& draw) { return 2 * draw.Size(100000); })) {
    const Tensor x = Random(DType::kF32, {n}, 1);
    const Guarded want(DType::kI64, {1});
    const GpuGuarded got(DType::kI64, {1});
    Checksum(CpuContext().stream, x, want);
    Checksum(GpuContext()->stream, ToGpu(x), got);
    EXPECT_EQ(ToCpu(got.tensor()).view().as<int64_t>()[0], want.tensor().view().as<int64_t>()[0])
        << n;
  }
}

}  // namespace
}  // namespace lockstep::kernels
