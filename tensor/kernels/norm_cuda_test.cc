#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/norm.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(NormCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  for (const DType dtype : {DType::kF32, DType::kF64, DType::kI64}) {
    for (const int64_t n : AndDrawn<int64_t>({1, 1000, 1 << 14, (1 << 14) + 1, 300000},
                                             [](Draw& draw) { return draw.Size(200000); })) {
      SCOPED_TRACE(n);
      const Tensor x = Random(dtype, {n}, 1, dtype == DType::kI64 ? 1e13 : 1.0);
      const Tensor norm = Tensor::Empty(*CpuContext().allocator, DType::kF64, {1});
      const Tensor clip = Tensor::Empty(*CpuContext().allocator, DType::kF64, {1});
      const GpuGuarded gpu_norm(DType::kF64, {1}), gpu_clip(DType::kF64, {1});
      const GpuGuarded gpu_partials(DType::kF64, {NormPartials(n)});
      Norm(CpuContext().stream, x, norm,
           Tensor::Empty(*CpuContext().allocator, DType::kF64, {NormPartials(n)}));
      Norm(GpuContext()->stream, ToGpu(x), gpu_norm, gpu_partials);
      ExpectMatches(gpu_norm.tensor(), norm, 1e-13);
      for (const double max_norm : {0.0, 0.5, 1e9}) {
        ClipCoefficient(CpuContext().stream, norm, max_norm, clip);
        ClipCoefficient(GpuContext()->stream, gpu_norm, max_norm, gpu_clip);
        ExpectMatches(gpu_clip.tensor(), clip, 1e-12);
      }
    }
  }
  for (const double max_norm : {0.0, 1.0}) {
    const GpuGuarded clip(DType::kF64, {1});
    ClipCoefficient(GpuContext()->stream, ToGpu(FromVector(DType::kF64, {1}, {NAN})), max_norm,
                    clip);
    EXPECT_TRUE(std::isnan(ToVector(ToCpu(clip.tensor()))[0])) << max_norm;
  }
}

}  // namespace
}  // namespace lockstep::kernels
