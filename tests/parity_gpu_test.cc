// The goldens of parity_test.cc on a GPU: f32 (without TF32), and bf16 within what bf16 allows.
#include "gtest/gtest.h"
#include "tensor/runtime.h"
#include "tests/golden_fixture.h"

namespace lockstep {
namespace {

// Logits relative to the golden's largest. stories260k is a trained model and goes through 20
// steps; the others are random and small.
constexpr Tolerance kTrainedF32{4e-6, 4e-5, 6e-5, 3e-5, 4e-4};
constexpr Tolerance kRandomF32{4e-6, 2e-6, 6e-6, 8e-6, 3e-5};
// As kRandomBF16, but the trained model's logits and gradients are differences of larger values.
constexpr Tolerance kTrainedBF16{0.1, 0.06, 0.2, 0.3, 0.2};

class GpuParity : public GoldenFixture {
 protected:
  void SetUp() override {
    if (CudaDeviceCount() == 0) GTEST_SKIP() << "no GPU here";
    GoldenFixture::SetUp();
  }

  Differences Run(GoldenRunOptions options) {
    options.device = DeviceType::kCUDA;
    return RunGolden(golden_, options);
  }

  void Expect(const char* what, const GoldenRunOptions& options) {
    const Tolerance& tolerance = options.dtype == DType::kF32 ? trained() ? kTrainedF32 : kRandomF32
                                 : trained()                  ? kTrainedBF16
                                                              : kRandomBF16;
    GoldenFixture::Expect(what, RelativeLogits(golden_, Run(options)), tolerance);
  }
};

TEST_P(GpuParity, F32) {
  Expect("f32, one pack", {});
  Expect("f32, a pack each", {.one_pack = false});
  Expect("f32, padded", {.row_multiple = nn::kGpuRowMultiple});
}

TEST_P(GpuParity, BF16) {
  const int64_t padded = nn::kGpuRowMultiple;
  Expect("bf16, one pack", {.dtype = DType::kBF16, .row_multiple = padded});
  Expect("bf16, a pack each", {.dtype = DType::kBF16, .one_pack = false, .row_multiple = padded});
}

// The same run twice, and recomputing, change no bit.
TEST_P(GpuParity, Repeats) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const Differences first = Run({.dtype = dtype});
    for (const auto mode :
         {nn::Checkpointing::kNone, nn::Checkpointing::kCheap, nn::Checkpointing::kLayer}) {
      const Differences again = Run({.dtype = dtype, .checkpointing = mode});
      EXPECT_EQ(first.logits_adapter, again.logits_adapter);
      EXPECT_EQ(first.loss, again.loss);
      EXPECT_EQ(first.grad_norm, again.grad_norm);
      EXPECT_EQ(first.gradient, again.gradient);
      EXPECT_EQ(first.final_adapter, again.final_adapter);
    }
  }
}

// A pack's gradient does not depend on what the GPU did before it: packs in another order have the
// same sums.
TEST_P(GpuParity, AnyOrderOfPacks) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const Differences first = Run({.dtype = dtype, .one_pack = false});
    const Differences reversed = Run({.dtype = dtype, .one_pack = false, .reversed = true});
    EXPECT_EQ(first.grad_norm, reversed.grad_norm);
    EXPECT_EQ(first.gradient, reversed.gradient);
    EXPECT_EQ(first.final_adapter, reversed.final_adapter);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, GpuParity, AllGoldens(), GoldenName);

}  // namespace
}  // namespace lockstep
