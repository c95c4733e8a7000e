#include <algorithm>
#include <array>

#include "tensor/kernels/cross_entropy.h"
#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

using Shape = std::pair<int64_t, int64_t>;  // rows, vocab

void ExpectMatchesTheCpu(const std::vector<Shape>& shapes) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const double softcap : {0.0, 5.0}) {
      for (const auto& [rows, vocab] : shapes) {
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
        // Each element, however small; a cap's slope is a difference of numbers near 1.
        const double relative = dtype == DType::kBF16 ? 1.0 / 256 : softcap > 0 ? 1e-3 : 1e-5;
        ExpectNear(ToCpu(got), want, relative, 1e-30);
      }
    }
  }
}

TEST(CrossEntropyCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  // Rows in the registers of two blocks, of several (8192 or 16384 f32, twice as many bf16 each),
  // of more than a cluster has; rows that are not aligned.
  ExpectMatchesTheCpu(AndDrawn<Shape>({{1, 2},
                                       {3, 8},
                                       {2, 16},
                                       {7, 320},
                                       {40, 50001},
                                       {3, 32768},
                                       {2, 32776},
                                       {5, 128256},
                                       {2, 262144},
                                       {2, 262152}},
                                      [](Draw& draw) {
                                        return Shape{draw.Size(4), 1 + draw.Size(300000)};
                                      }));
}

// Several times more rows than a GPU has clusters, each of which brings three ahead.
TEST(CrossEntropyCudaTest, ManyRowsMatchTheCpu) {
  SKIP_WITHOUT_GPU();
  ExpectMatchesTheCpu({{2000, 328}, {300, 33000}, {600, 16392}});
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

TEST(CrossEntropyCudaTest, LogitsMayBeFarBeyondTheCap) {
  SKIP_WITHOUT_GPU();
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    for (const int64_t vocab : {1000, 1001}) {
      std::vector<double> values;
      for (int64_t i = 0; i < vocab; ++i) {
        values.push_back(std::array{300.0, 0.5, -300.0, 2.0, 1e30, -1.0, 25.0}[i % 7]);
      }
      const Tensor logits = FromVector(dtype, {1, vocab}, values);
      const Tensor want = As(DType::kF32, logits), got = ToGpu(logits);
      const Tensor targets = FromVector(DType::kI32, {1}, {3});
      const Tensor nll = Tensor::Empty(*CpuContext().allocator, DType::kF64, {1});
      const GpuGuarded gpu_nll(DType::kF64, {1});
      const CrossEntropyOptions options = {.softcap = 2, .gradient = true};
      CrossEntropy(CpuContext().stream, want, targets, nll, options);
      CrossEntropy(GpuContext()->stream, got, ToGpu(targets), gpu_nll, options);
      ExpectMatches(gpu_nll.tensor(), nll, 1e-5);
      ExpectMatches(got, want, tolerance * 4);
    }
  }
}

TEST(CrossEntropyCudaTest, WhatIsNotFiniteShows) {
  SKIP_WITHOUT_GPU();
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const double softcap : {0.0, 5.0}) {
      for (const int64_t vocab : {1000, 1001, 40000}) {
        SCOPED_TRACE(testing::Message() << NameOf(dtype) << " " << softcap << " " << vocab);
        std::vector<double> values(2 * vocab, 1.0);
        values[vocab / 2] = NAN;
        const GpuGuarded nll(DType::kF64, {2});
        CrossEntropy(GpuContext()->stream, ToGpu(FromVector(dtype, {2, vocab}, values)),
                     ToGpu(FromVector(DType::kI32, {2}, {3, 4})), nll, {.softcap = softcap});
        const std::vector<double> got = ToVector(ToCpu(nll.tensor()));
        EXPECT_FALSE(std::isfinite(got[0]));
        EXPECT_TRUE(std::isfinite(got[1]));
      }
    }
  }
}

// A cap makes them −cap: they count, also where a thread's first logits are all of this kind.
TEST(CrossEntropyCudaTest, MinusInfinityIsALogitUnderACap) {
  SKIP_WITHOUT_GPU();
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    for (const int64_t vocab : {3000, 3001, 262152}) {
      SCOPED_TRACE(vocab);
      std::vector<double> values = ToVector(Random(DType::kF32, {vocab}, 1));
      std::fill_n(values.begin(), vocab / 3, -INFINITY);
      const Tensor logits = FromVector(dtype, {1, vocab}, values);
      const Tensor want = As(DType::kF32, logits), got = ToGpu(logits);
      const Tensor targets = FromVector(DType::kI32, {1}, {static_cast<double>(vocab - 1)});
      const Tensor nll = Tensor::Empty(*CpuContext().allocator, DType::kF64, {1});
      const GpuGuarded gpu_nll(DType::kF64, {1});
      const CrossEntropyOptions options = {.softcap = 5, .gradient = true};
      CrossEntropy(CpuContext().stream, want, targets, nll, options);
      CrossEntropy(GpuContext()->stream, got, ToGpu(targets), gpu_nll, options);
      ExpectMatches(gpu_nll.tensor(), nll, 1e-5);
      ExpectMatches(got, want, tolerance * 4);
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
