#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/glu.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(GluCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    for (const GluActivation activation : {GluActivation::kSilu, GluActivation::kGeluTanh}) {
      using Shape = std::pair<int64_t, int64_t>;
      for (const auto& [rows, width] :
           AndDrawn<Shape>({{1, 1}, {3, 100}, {64, 1536}}, [](Draw& draw) {
             return Shape{draw.Size(40), draw.Size(4000)};
           })) {
        SCOPED_TRACE(testing::Message() << rows << "x" << width);
        const Tensor x = Random(dtype, {rows, 2 * width}, 1, 2),
                     dy = Random(dtype, {rows, width}, 2);
        const Tensor x32 = As(DType::kF32, x);
        const Tensor y = Tensor::Empty(*CpuContext().allocator, DType::kF32, {rows, width});
        Glu(CpuContext().stream, x32, activation, y);
        const GpuGuarded gpu_y(dtype, {rows, width});
        const Tensor gpu_x = ToGpu(x);
        Glu(GpuContext()->stream, gpu_x, activation, gpu_y);
        ExpectMatches(gpu_y.tensor(), y, 2 * tolerance);
        GluBackward(CpuContext().stream, As(DType::kF32, dy), x32, activation, x32);
        GluBackward(GpuContext()->stream, ToGpu(dy), gpu_x, activation, gpu_x);
        ExpectMatches(gpu_x, x32, 2 * tolerance);
      }
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
