#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/dropout_mask.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(DropoutMaskCudaTest, DrawsWhatTheCpuDraws) {
  SKIP_WITHOUT_GPU();
  for (const int64_t width :
       AndDrawn<int64_t>({1, 128, 576, 2056, 4096}, [](Draw& draw) { return draw.Size(8000); })) {
    SCOPED_TRACE(width);
    const int64_t bytes = DropoutMaskBytes(width);
    const Tensor keys = Random(DType::kI64, {50}, 3, 1e18);
    const Guarded want(DType::kU8, {50, bytes});
    const GpuGuarded got(DType::kU8, {50, bytes});
    DrawDropout(CpuContext().stream, keys, 0x123456789ABCDEFull, {want, 0.1});
    DrawDropout(GpuContext()->stream, ToGpu(keys), 0x123456789ABCDEFull, {got, 0.1});
    EXPECT_EQ(ToVector(ToCpu(got.tensor())), ToVector(want.tensor()));
  }
}

}  // namespace
}  // namespace lockstep::kernels
