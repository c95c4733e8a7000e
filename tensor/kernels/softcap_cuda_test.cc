#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/softcap.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(SoftcapCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    for (const int64_t n :
         AndDrawn<int64_t>({7 * 333}, [](Draw& draw) { return draw.Size(50000); })) {
      SCOPED_TRACE(n);
      const Tensor x = Random(dtype, {1, n}, 1, 40), want = As(DType::kF32, x), got = ToGpu(x);
      Softcap(CpuContext().stream, want, 30, want);
      Softcap(GpuContext()->stream, got, 30, got);
      ExpectMatches(got, want, tolerance);
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
