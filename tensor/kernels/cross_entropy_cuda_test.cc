#include "tensor/kernels/cross_entropy.h"
#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(CrossEntropyCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    for (const double softcap : {0.0, 5.0}) {
      // Rows in the registers of one block, of several (16384 f32 or 32768 bf16 each), of more than
      // a cluster has; rows that are not aligned; and more rows than a GPU has clusters.
      using Shape = std::pair<int64_t, int64_t>;
      for (const auto& [rows, vocab] :
           AndDrawn<Shape>({{1, 2},
                            {7, 320},
                            {40, 50001},
                            {3, 32768},
                            {2, 32776},
                            {5, 128256},
                            {2, 262144},
                            {2, 262152},
                            {700, 328},
                            {300, 33000}},
                           [](Draw& draw) {
                             return Shape{draw.Size(4), 1 + draw.Size(300000)};
                           })) {
        SCOPED_TRACE(testing::Message() << rows << "x" << vocab);
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

TEST(CrossEntropyCudaTest, LogitsMayBeFarFromZero) {
  SKIP_WITHOUT_GPU();
  for (const int64_t vocab : {5, 320, 32776}) {
    std::vector<double> values = ToVector(Random(DType::kF32, {2 * vocab}, 1));
    for (int64_t i = 0; i < 2 * vocab; ++i) values[i] += i < vocab ? -300 : 300;
    const Tensor want = FromVector(DType::kF32, {2, vocab}, values), got = ToGpu(want);
    const Tensor targets = FromVector(DType::kI32, {2}, {1, 2});
    const Tensor nll = Tensor::Empty(*CpuContext().allocator, DType::kF64, {2});
    const GpuGuarded gpu_nll(DType::kF64, {2});
    CrossEntropy(CpuContext().stream, want, targets, nll, {.gradient = true});
    CrossEntropy(GpuContext()->stream, got, ToGpu(targets), gpu_nll, {.gradient = true});
    ExpectMatches(gpu_nll.tensor(), nll, 1e-5);
    ExpectMatches(got, want, 1e-4);
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
