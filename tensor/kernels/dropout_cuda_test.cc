#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/dropout.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(DropoutCudaTest, DropsWhatTheCpuDrops) {
  SKIP_WITHOUT_GPU();
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    for (const int64_t width :
         AndDrawn<int64_t>({1, 6, 576, 2056}, [](Draw& draw) { return draw.Size(4000); })) {
      SCOPED_TRACE(width);
      for (const bool accumulate : {false, true}) {
        const DropoutOptions options = {0.3, 0x123456789ABCDEFull, accumulate};
        const Tensor x = Random(dtype, {50, width}, 1), y = Random(dtype, {50, width}, 2);
        const Tensor keys = Random(DType::kI64, {50}, 3, 1e18);
        const Tensor want = As(DType::kF32, y), got = ToGpu(y);
        Dropout(CpuContext().stream, As(DType::kF32, x), keys, want, options);
        Dropout(GpuContext()->stream, ToGpu(x), ToGpu(keys), got, options);
        ExpectMatches(got, want, tolerance);
      }
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
