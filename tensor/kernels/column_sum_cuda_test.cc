#include "tensor/kernels/column_sum.h"
#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(ColumnSumCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    for (const bool accumulate : {false, true}) {
      using Shape = std::pair<int64_t, int64_t>;
      for (const auto& [rows, width] :
           AndDrawn<Shape>({{1, 1}, {77, 33}, {1000, 576}}, [](Draw& draw) {
             return Shape{draw.Size(1000), draw.Size(600)};
           })) {
        SCOPED_TRACE(testing::Message() << rows << "x" << width);
        const Tensor x = Random(dtype, {rows, width}, 1), y = Random(DType::kF32, {width}, 2);
        const Tensor got = ToGpu(y);
        ColumnSum(CpuContext().stream, As(DType::kF32, x), accumulate, y);
        ColumnSum(GpuContext()->stream, ToGpu(x), accumulate, got);
        ExpectMatches(got, y, 1e-5);
      }
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
