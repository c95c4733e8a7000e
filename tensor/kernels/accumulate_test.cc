#include "tensor/kernels/accumulate.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(AccumulateTest, AddsElementByElement) {
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    const Tensor x = FromVector(dtype, {2, 2}, {1, 2, 3, 4});
    const Tensor y = FromVector(dtype, {2, 2}, {10, 20, 30, 40});
    Accumulate(CpuContext().stream, x, y);
    EXPECT_EQ(ToVector(y), (std::vector<double>{11, 22, 33, 44}));
    EXPECT_EQ(ToVector(x), (std::vector<double>{1, 2, 3, 4}));
  }
}

TEST(AccumulateTest, StaysInsideItsMemory) {
  const Guarded y(DType::kF32, {70001});
  const Tensor ones = FromVector(DType::kF32, {70001}, std::vector<double>(70001, 1.0));
  std::memset(y.tensor().view().data, 0, y.tensor().view().num_bytes());
  Accumulate(CpuContext().stream, ones, y);
  EXPECT_EQ(ToVector(y), std::vector<double>(70001, 1.0));
}

TEST(AccumulateDeathTest, RefusesOtherShapesAndTypes) {
  const Tensor x = FromVector(DType::kF32, {2}, {1, 2});
  EXPECT_DEATH(Accumulate(CpuContext().stream, x, FromVector(DType::kF32, {3}, {1, 2, 3})),
               "accumulate");
  EXPECT_DEATH(Accumulate(CpuContext().stream, x, FromVector(DType::kF64, {2}, {1, 2})),
               "want f64");
}

}  // namespace
}  // namespace lockstep::kernels
