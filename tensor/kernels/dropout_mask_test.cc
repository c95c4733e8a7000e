#include "tensor/kernels/dropout_mask.h"

#include "tensor/kernels/dropout.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

// The same mask as dropout's, for any width.
TEST(DropoutMaskTest, IsWhatDropoutKeeps) {
  const Stream stream = CpuContext().stream;
  const Tensor keys = FromVector(DType::kI64, {3}, {5, -1, 1e12});
  for (const int64_t width : {1, 8, 63, 64, 65, 128, 200, 1000}) {
    const Tensor x = FromVector(DType::kF64, {3, width}, std::vector<double>(3 * width, 1.0));
    const Guarded bits(DType::kU8, {3, DropoutMaskBytes(width)});
    DrawDropout(stream, keys, 77, {bits, 0.3});
    Dropout(stream, x, keys, x, {.p = 0.3, .key = 77});
    const std::vector<double> dropped = ToVector(x);
    for (int64_t t = 0; t < 3; ++t) {
      const uint8_t* row = bits.tensor().view().as<uint8_t>() + t * DropoutMaskBytes(width);
      for (int64_t c = 0; c < width; ++c) {
        EXPECT_EQ(row[DropoutByte(c)] >> DropoutBit(c) & 1, dropped[t * width + c] == 0 ? 0 : 1)
            << t << ", " << c << " of " << width;
      }
    }
  }
}

TEST(DropoutMaskTest, EveryChannelHasABitOfItsOwn) {
  std::vector<int> seen(8 * DropoutMaskBytes(300));
  for (int64_t c = 0; c < static_cast<int64_t>(seen.size()); ++c) {
    ++seen.at(8 * DropoutByte(c) + DropoutBit(c));
  }
  for (const int times : seen) EXPECT_EQ(times, 1);
}

}  // namespace
}  // namespace lockstep::kernels
