#include "tensor/kernels/checksum.h"

#include <cstring>

#include "base/thread_pool.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

int64_t SumOf(const Tensor& x) {
  const Guarded y(DType::kI64, {1});
  Checksum(CpuContext().stream, x, y);
  return y.tensor().view().as<int64_t>()[0];
}

TEST(ChecksumTest, AddsTheTermOfEveryWord) {
  EXPECT_EQ(SumOf(Random(DType::kF32, {0}, 1)), 0);
  // The first outputs of splitmix64 with seed 0, as in its reference code.
  EXPECT_EQ(ChecksumTerm(0, 0), 0xE220A8397B1DCDAFu);
  EXPECT_EQ(ChecksumTerm(0, 1), 0x6E789E6AA1B965F4u);
  const Tensor x = Random(DType::kF64, {200'001}, 1);
  uint64_t want = 0;
  for (int64_t i = 0; i < x.numel(); ++i) {
    uint64_t word;
    std::memcpy(&word, x.view().as<double>() + i, sizeof(word));
    want += ChecksumTerm(word, i);
  }
  EXPECT_EQ(static_cast<uint64_t>(SumOf(x)), want);
}

TEST(ChecksumTest, AnyBitAndAnyPlaceCounts) {
  const Tensor x = Random(DType::kF32, {4096}, 1);
  const int64_t before = SumOf(x);
  auto* words = static_cast<uint64_t*>(x.Mutable("test").data);
  for (const int64_t i : {0, 1000, 2047}) {
    for (const int bit : {0, 31, 63}) {
      words[i] ^= uint64_t{1} << bit;
      EXPECT_NE(SumOf(x), before) << i << " " << bit;
      words[i] ^= uint64_t{1} << bit;
    }
  }
  std::swap(words[0], words[1]);
  EXPECT_NE(SumOf(x), before);
  std::swap(words[0], words[1]);
  EXPECT_EQ(SumOf(x), before);
}

TEST(ChecksumTest, DoesNotDependOnThreads) {
  const Tensor x = Random(DType::kF32, {1'000'000}, 1);
  SetNumThreads(1);
  const int64_t one = SumOf(x);
  SetNumThreads(3);
  EXPECT_EQ(SumOf(x), one);
}

TEST(ChecksumDeathTest, RefusesHalfAWord) {
  EXPECT_DEATH(SumOf(Random(DType::kF32, {3}, 1)), "want contiguous 64-bit words");
}

}  // namespace
}  // namespace lockstep::kernels
