#include "tensor/kernels/softcap.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(SoftcapTest, EqualsItsDefinition) {
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    for (const double scale : {0.1, 10.0, 1000.0}) {
      const Tensor x = Random(dtype, {3, 101}, 1, scale);
      const Guarded y(dtype, {3, 101});
      Softcap(CpuContext().stream, x, 30, y);
      Softcap(CpuContext().stream, x, 30, x);
      EXPECT_EQ(ToVector(x), ToVector(y));
      const std::vector<double> in = ToVector(Random(dtype, {3, 101}, 1, scale)), got = ToVector(y);
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_NEAR(got[i], 30 * std::tanh(in[i] / 30), 1e-6 * std::abs(in[i]));
      }
    }
  }
}

TEST(SoftcapDeathTest, RefusesWhatDoesNotFit) {
  const Tensor x = Random(DType::kF32, {2, 3}, 1);
  EXPECT_DEATH(Softcap(CpuContext().stream, x, 0, x), "cap");
  EXPECT_DEATH(Softcap(CpuContext().stream, x, 1, Random(DType::kF32, {3, 2}, 1)),
               "y: want shape \\[2, 3\\]");
}

}  // namespace
}  // namespace lockstep::kernels
