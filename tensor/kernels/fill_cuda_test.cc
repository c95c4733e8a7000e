#include "tensor/kernels/fill.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(FillCudaTest, WritesEveryElementAndNoOther) {
  SKIP_WITHOUT_GPU();
  for (const DType dtype :
       {DType::kF64, DType::kF32, DType::kBF16, DType::kI64, DType::kI32, DType::kU8}) {
    for (const double value : {0.0, 3.0}) {
      const GpuGuarded y(dtype, {3, 77});
      Fill(GpuContext()->stream, y, value);
      EXPECT_EQ(ToVector(ToCpu(y.tensor())), std::vector<double>(3 * 77, value)) << NameOf(dtype);
    }
  }
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const Tensor x = ToGpu(FromVector(dtype, {2, 3}, {1, 2, 3, 4, 5, 6}));
    Fill(GpuContext()->stream, x.Slice(1, 1, 2), 0.0);
    EXPECT_EQ(ToVector(ToCpu(x)), (std::vector<double>{1, 0, 3, 4, 0, 6})) << NameOf(dtype);
  }
}

}  // namespace
}  // namespace lockstep::kernels
