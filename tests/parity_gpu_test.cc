// The goldens of parity_test.cc on a GPU: f32 (without TF32), and bf16 within what bf16 allows.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nn/host_tensor.h"
#include "tensor/runtime.h"
#include "tests/golden_run.h"

namespace lockstep {
namespace {

constexpr char kRoot[] = "external/shared";

// Largest differences, as in Differences; logits relative to the golden's largest. stories260k is a
// trained model and goes through 20 steps; the others are random and small.
struct Tolerance {
  double logits, loss, grad_norm, gradient, final_adapter;
};
constexpr Tolerance kTrainedF32{4e-6, 4e-5, 6e-5, 3e-5, 4e-4};
constexpr Tolerance kRandomF32{4e-6, 2e-6, 6e-6, 8e-6, 3e-5};
// bf16 rounds to 2^-9 of a value, a dozen times a layer on the way to the logits and again on the
// way back: some 2^-6 of the largest element in a random model. The trained one's logits and
// gradients are differences of larger values.
constexpr Tolerance kTrainedBF16{0.1, 0.06, 0.2, 0.3, 0.2};
constexpr Tolerance kRandomBF16{0.05, 2e-3, 0.015, 0.08, 0.12};

std::vector<std::string> GoldenNames() {
  std::vector<std::string> names;
  const std::string folder = std::string(kRoot) + "/goldens";
  if (std::filesystem::exists(folder)) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.is_directory()) names.push_back(entry.path().filename());
    }
  }
  std::sort(names.begin(), names.end());
  return names.empty() ? std::vector<std::string>{"none"} : names;
}

class GpuParity : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (CudaDeviceCount() == 0) GTEST_SKIP() << "no GPU here";
    if (GetParam() == "none") GTEST_SKIP() << "../shared/goldens is not there";
    golden_ = ReadGolden(kRoot, GetParam());
    for (const GoldenDocument& document : golden_.documents) {
      for (const double logit : document.logits_base) {
        largest_logit_ = std::max(largest_logit_, std::abs(logit));
      }
    }
  }

  Differences Run(GoldenRunOptions options) {
    options.device = DeviceType::kCUDA;
    return RunGolden(golden_, options);
  }

  void Expect(const char* what, const GoldenRunOptions& options) {
    const bool trained = golden_.name == "stories260k";
    const Tolerance& tolerance = options.dtype == DType::kF32 ? trained ? kTrainedF32 : kRandomF32
                                 : trained                    ? kTrainedBF16
                                                              : kRandomBF16;
    const Differences d = Run(options);
    const double logits = std::max(d.logits_base, d.logits_adapter) / largest_logit_;
    std::printf("%-12s %-18s logits %.1e | loss %.1e | norm %.1e | gradient %.1e | adapter %.1e\n",
                GetParam().c_str(), what, logits, d.loss, d.grad_norm, d.gradient, d.final_adapter);
    EXPECT_LE(logits, tolerance.logits) << what;
    EXPECT_LE(d.loss, tolerance.loss) << what;
    EXPECT_LE(d.grad_norm, tolerance.grad_norm) << what;
    EXPECT_LE(d.gradient, tolerance.gradient) << what;
    EXPECT_LE(d.final_adapter, tolerance.final_adapter) << what;
  }

  Golden golden_;
  double largest_logit_ = 0;
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

INSTANTIATE_TEST_SUITE_P(Families, GpuParity, ::testing::ValuesIn(GoldenNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace lockstep
