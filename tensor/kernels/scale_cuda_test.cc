#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/scale.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(ScaleCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  const Tensor factor = FromVector(DType::kF64, {1}, {0.75});
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    for (const bool accumulate : {false, true}) {
      for (const int64_t n :
           AndDrawn<int64_t>({1, 64, 4001}, [](Draw& draw) { return draw.Size(50000); })) {
        SCOPED_TRACE(n);
        const Tensor x = Random(dtype, {n}, 1), y = Random(DType::kF32, {n}, 2), got = ToGpu(y);
        Scale(CpuContext().stream, As(DType::kF32, x), factor, accumulate, y);
        Scale(GpuContext()->stream, ToGpu(x), ToGpu(factor), accumulate, got);
        ExpectMatches(got, y, 1e-6);
      }
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
