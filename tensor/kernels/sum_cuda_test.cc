#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/sum.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(SumCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  for (const int64_t n :
       AndDrawn<int64_t>({0, 1, 1000, 70001}, [](Draw& draw) { return draw.Size(100000); })) {
    SCOPED_TRACE(n);
    const Tensor x = Random(DType::kF64, {n}, 1);
    const Tensor y = Tensor::Empty(*CpuContext().allocator, DType::kF64, {1});
    const GpuGuarded got(DType::kF64, {1});
    Sum(CpuContext().stream, x, 0.5, y);
    Sum(GpuContext()->stream, ToGpu(x), 0.5, got);
    ExpectNear(ToCpu(got.tensor()), y, 1e-11, 1e-11);
  }
}

}  // namespace
}  // namespace lockstep::kernels
