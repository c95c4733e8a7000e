#include "tensor/kernels/fill.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(FillTest, WritesEveryElementOfEveryType) {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16, DType::kI64,
                            DType::kI32, DType::kU8}) {
    const Guarded y(dtype, {3, 5});
    Fill(CpuContext().stream, y, 2.0);
    EXPECT_EQ(ToVector(y), std::vector<double>(15, 2.0)) << NameOf(dtype);
  }
}

TEST(FillTest, WritesWhatSeveralThreadsShare) {
  constexpr int64_t kNumel = (1 << 19) + 3;
  const Guarded y(DType::kI32, {kNumel});
  Fill(CpuContext().stream, y, 7.0);
  EXPECT_EQ(ToVector(y), std::vector<double>(kNumel, 7.0));
}

TEST(FillTest, LeavesWhatLiesBetweenRows) {
  const Tensor x = FromVector(DType::kF32, {2, 3}, {1, 2, 3, 4, 5, 6});
  Fill(CpuContext().stream, x.Slice(1, 1, 2), 0.0);
  EXPECT_EQ(ToVector(x), (std::vector<double>{1, 0, 3, 4, 0, 6}));
}

}  // namespace
}  // namespace lockstep::kernels
