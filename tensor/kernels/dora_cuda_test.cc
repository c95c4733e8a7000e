#include "tensor/kernels/dora.h"
#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(DoraCudaTest, NormMatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  for (const DType weights : {DType::kF32, DType::kBF16}) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      if (weights == DType::kF32 && dtype == DType::kBF16) continue;  // no such pair
      using Shape = std::tuple<int64_t, int64_t, int64_t>;
      for (const auto& [rows, width, rank] :
           AndDrawn<Shape>({{1, 1, 1}, {70, 33, 3}, {64, 1000, 64}}, [](Draw& draw) {
             return Shape{draw.Size(100), draw.Size(1500), draw.Size(256)};
           })) {
        SCOPED_TRACE(testing::Message() << rows << "x" << width << " rank " << rank);
        const Tensor w = Random(weights, {rows, width}, 1), a = Random(dtype, {rank, width}, 2);
        const Tensor b = Random(dtype, {rows, rank}, 3), want = Random(DType::kF32, {rows}, 4);
        DoraNorm(CpuContext().stream, w, As(DType::kF32, a), As(DType::kF32, b), 0.5, want);
        const GpuGuarded got(DType::kF32, {rows});
        DoraNorm(GpuContext()->stream, ToGpu(w), ToGpu(a), ToGpu(b), 0.5, got);
        ExpectMatches(got.tensor(), want, 2e-6);
      }
    }
  }
}

TEST(DoraCudaTest, ForwardAndBackwardMatchTheCpu) {
  SKIP_WITHOUT_GPU();
  const DType f32 = DType::kF32;
  for (const auto& [dtype, tolerance] :
       {std::pair{DType::kF32, 2e-6}, std::pair{DType::kBF16, 1.0 / 128}}) {
    // The last has more rows than a grid has blocks along y.
    using Shape = std::pair<int64_t, int64_t>;
    for (const auto& [rows, width] :
         AndDrawn<Shape>({{1, 1}, {77, 33}, {100, 576}, {65600, 8}}, [](Draw& draw) {
           return Shape{draw.Size(300), draw.Size(1000)};
         })) {
      SCOPED_TRACE(testing::Message() << rows << "x" << width);
      const Tensor x = Random(dtype, {rows, width}, 1), dy = Random(dtype, {rows, width}, 2);
      const Tensor m = Random(f32, {width}, 3), bias = Random(DType::kBF16, {width}, 4);
      std::vector<double> norms = ToVector(Random(f32, {width}, 5));
      for (double& norm : norms) norm = 1 + std::abs(norm);
      const Tensor norm = FromVector(f32, {width}, norms), dm = Random(f32, {width}, 6);
      const Tensor gpu_m = ToGpu(m), gpu_norm = ToGpu(norm), gpu_dm = ToGpu(dm);
      const Tensor y = Random(f32, {rows, width}, 7), dx = Random(f32, {rows, width}, 8);
      DoraForward(CpuContext().stream, As(f32, x), m, norm, bias, y);
      DoraBackward(CpuContext().stream, As(f32, dy), As(f32, x), m, norm, dx, true, dm);
      const GpuGuarded gpu_y(dtype, {rows, width}), gpu_dx(dtype, {rows, width});
      const Tensor gpu_x = ToGpu(x), gpu_bias = ToGpu(bias);
      DoraForward(GpuContext()->stream, gpu_x, gpu_m, gpu_norm, gpu_bias, gpu_y);
      DoraBackward(GpuContext()->stream, ToGpu(dy), gpu_x, gpu_m, gpu_norm, gpu_dx, true, gpu_dm);
      ExpectMatches(gpu_y.tensor(), y, tolerance);
      ExpectMatches(gpu_dx.tensor(), dx, tolerance);
      ExpectMatches(gpu_dm, dm, 1e-5);
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
