#include "tensor/kernels/softcap.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(SoftcapCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    const Tensor x = Random(dtype, {7, 333}, 1, 40), want = As(DType::kF32, x), got = ToGpu(x);
    Softcap(CpuContext().stream, want, 30, want);
    Softcap(GpuContext()->stream, got, 30, got);
    ExpectMatches(got, want, tolerance);
  }
}

}  // namespace
}  // namespace lockstep::kernels
