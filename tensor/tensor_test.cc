#include "tensor/tensor.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "tensor/half.h"

namespace lockstep {
namespace {

TEST(TensorTest, SlicesShareMemoryAndVersion) {
  CpuAllocator allocator;
  const Tensor x = Tensor::Empty(allocator, DType::kF32, {4, 6});
  const Tensor right = x.Slice(1, 2, 5);
  EXPECT_EQ(right.dim(0), 4);
  EXPECT_EQ(right.dim(-1), 3);
  EXPECT_FALSE(right.view().contiguous());
  EXPECT_TRUE(x.Slice(0, 1, 3).view().contiguous());
  EXPECT_EQ(right.view().as<float>(), x.view().as<float>() + 2);
  EXPECT_TRUE(right.SharesMemoryWith(x));
  EXPECT_EQ(right.version(), 0u);
  x.Mutable("fill");
  EXPECT_EQ(right.version(), 1u);
  EXPECT_STREQ(right.last_writer(), "fill");
  EXPECT_EQ(Describe(right), "f32[4, 3] (strided)");
}

TEST(TensorTest, MemoryGoesBackWithTheLastTensor) {
  CpuAllocator allocator;
  {
    const Tensor x = Tensor::Empty(allocator, DType::kF64, {100});
    const Tensor y = x.Reshape({10, 10});
    EXPECT_FALSE(x.unique());
    EXPECT_EQ(allocator.bytes_in_use(), 1024);
  }
  EXPECT_EQ(allocator.bytes_in_use(), 0);
  EXPECT_EQ(allocator.peak_bytes(), 1024);
}

TEST(TensorTest, MetaTensorsHaveShapesAndNoMemory) {
  MetaAllocator allocator;
  const Tensor huge = Tensor::Empty(allocator, DType::kBF16, {1 << 20, 1 << 20});
  EXPECT_EQ(allocator.peak_bytes(), int64_t{2} << 40);
  EXPECT_EQ(huge.device().type, DeviceType::kMeta);
}

TEST(TensorDeathTest, ShapesMustFit) {
  CpuAllocator allocator;
  const Tensor x = Tensor::Empty(allocator, DType::kF32, {4, 6});
  EXPECT_DEATH(x.Reshape({5, 5}), "reshape");
  EXPECT_DEATH(x.Slice(1, 4, 7), "slice");
}

TEST(HalfTest, EveryBf16AndF16SurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float bf16 = Bf16ToFloat(bits), f16 = F16ToFloat(bits);
    if (!std::isnan(bf16)) {
      EXPECT_EQ(FloatToBf16(bf16), bits);
    }
    if (!std::isnan(f16)) {
      EXPECT_EQ(FloatToF16(f16), bits);
    }
    EXPECT_EQ(std::isnan(f16), (bits & 0x7C00u) == 0x7C00u && (bits & 0x3FFu) != 0);
  }
}

TEST(HalfTest, RoundsToNearestEven) {
  EXPECT_EQ(FloatToBf16(1.0f + 0x1p-8f), FloatToBf16(1.0f));
  EXPECT_EQ(FloatToBf16(1.0f + 3 * 0x1p-8f), FloatToBf16(1.0f + 0x1p-6f));
  EXPECT_EQ(FloatToF16(1.0f + 0x1p-11f), FloatToF16(1.0f));
  EXPECT_EQ(FloatToF16(65519.0f), 0x7BFF);
  EXPECT_EQ(FloatToF16(65520.0f), 0x7C00);
  EXPECT_EQ(FloatToF16(0x1p-25f), 0);
  EXPECT_EQ(FloatToF16(0x1.8p-25f), 1);
  EXPECT_TRUE(std::isnan(F16ToFloat(FloatToF16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(CpuAllocatorTest, KeepsNoMoreThanWasEverInUse) {
  CpuAllocator allocator;
  // Packs of ever other sizes: a block is rarely asked for again.
  for (size_t step = 1; step < 500; ++step) {
    void* a = allocator.Allocate(1000 * step);
    void* b = allocator.Allocate(777 * step);
    allocator.Deallocate(a, 1000 * step);
    allocator.Deallocate(b, 777 * step);
    ASSERT_LE(allocator.bytes_kept(), allocator.peak_bytes());
  }
  EXPECT_EQ(allocator.bytes_in_use(), 0);
}

TEST(MetaAllocatorTest, KnowsHowFarAllBlocksReached) {
  MetaAllocator allocator;
  void* const low = allocator.Allocate(1024);
  void* const high = allocator.Allocate(2048);
  allocator.Deallocate(low, 1024);
  EXPECT_EQ(allocator.Allocate(512), low) << "the smallest hole that is large enough";
  EXPECT_EQ(allocator.highest(), 1024 + 2048);
  allocator.Deallocate(high, 2048);
  EXPECT_EQ(allocator.highest(), 1024 + 2048) << "what was";
  allocator.ResetHighest();
  EXPECT_EQ(allocator.highest(), 512) << "what is";
}

}  // namespace
}  // namespace lockstep
