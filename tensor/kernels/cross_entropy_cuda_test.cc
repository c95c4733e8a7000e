#include "tensor/kernels/cross_entropy.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(CrossEntropyCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    for (const double softcap : {0.0, 5.0}) {
      for (const auto& [rows, vocab] : {std::pair<int64_t, int64_t>{1, 2}, {7, 320}, {40, 50001}}) {
        const CrossEntropyOptions options = {softcap, 0.25, true};
        const Tensor logits = Random(dtype, {rows, vocab}, 1, 4);
        std::vector<double> wanted;
        for (int64_t s = 0; s < rows; ++s)
          wanted.push_back(static_cast<double>((s * 7919 + 1) % vocab));
        const Tensor targets = FromVector(DType::kI32, {rows}, wanted);
        const Tensor want = As(DType::kF32, logits), got = ToGpu(logits);
        const Tensor nll = Tensor::Empty(*CpuContext().allocator, DType::kF64, {rows});
        const GpuGuarded gpu_nll(DType::kF64, {rows});
        CrossEntropy(CpuContext().stream, want, targets, nll, options);
        CrossEntropy(GpuContext()->stream, got, ToGpu(targets), gpu_nll, options);
        ExpectMatches(gpu_nll.tensor(), nll, 1e-5);
        ExpectMatches(got, want, tolerance * 4);
      }
    }
  }
}

TEST(CrossEntropyCudaTest, WhatIsNotFiniteShows) {
  SKIP_WITHOUT_GPU();
  Tensor logits = Random(DType::kF32, {2, 1000}, 1);
  logits.view().as<float>()[500] = NAN;
  const GpuGuarded nll(DType::kF64, {2});
  CrossEntropy(GpuContext()->stream, ToGpu(logits), ToGpu(FromVector(DType::kI32, {2}, {3, 4})),
               nll, {});
  const std::vector<double> got = ToVector(ToCpu(nll.tensor()));
  EXPECT_FALSE(std::isfinite(got[0]));
  EXPECT_TRUE(std::isfinite(got[1]));
}

}  // namespace
}  // namespace lockstep::kernels
