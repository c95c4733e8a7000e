#include "tensor/kernels/fp8_gemm.h"
#include "tensor/kernels/quantized.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

constexpr double kTolerance = 1.0 / 128;  // of the largest element: bf16's rounding

// The same codes on the GPU.
struct OnGpu {
  explicit OnGpu(const Quantized& x) : codes(ToGpu(x.codes())), scales(ToGpu(x.scales())) {}
  operator ScaledRows() const { return {codes, scales}; }  // NOLINT(google-explicit-constructor)
  Tensor codes, scales;
};

class Fp8GemmCudaTest : public testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_GPU();
    if (!HasFp8Gemm(GpuContext()->device())) GTEST_SKIP() << "needs Hopper GPUs";
  }
};

TEST_F(Fp8GemmCudaTest, MatchesTheCpu) {
  for (const auto& [m, n, k] : {std::tuple<int64_t, int64_t, int64_t>{1, 16, 16},
                                {3, 48, 80},
                                {64, 208, 64},
                                {65, 256, 576},
                                {200, 4112, 272},
                                {64, 96, 14336}}) {
    const Quantized a(CpuContext(), Random(DType::kF32, {m, k}, 1)),
        b(CpuContext(), Random(DType::kF32, {n, k}, 2, 0.02));
    const Tensor c = Random(DType::kBF16, {m, n}, 3), bias = Random(DType::kBF16, {n}, 4);
    const Tensor wide_bias = As(DType::kF32, bias), gpu_bias = ToGpu(bias);
    for (const double beta : {0.0, 1.0}) {
      for (const bool has_bias : {false, true}) {
        SCOPED_TRACE(testing::Message() << m << "x" << n << "x" << k << " " << beta << has_bias);
        const Tensor want = As(DType::kF32, c);
        Fp8Gemm(CpuContext().stream, a, b, want,
                {.beta = beta, .bias = has_bias ? wide_bias.view() : View{}});
        const GpuGuarded got(DType::kBF16, {m, n});
        CopyToDevice(GpuContext()->stream, c.view().data, got);
        Fp8Gemm(GpuContext()->stream, OnGpu(a), OnGpu(b), got,
                {.beta = beta, .bias = has_bias ? gpu_bias.view() : View{}});
        ExpectMatches(got.tensor(), want, kTolerance);
      }
    }
  }
}

TEST_F(Fp8GemmCudaTest, RepeatsItself) {
  const Quantized a(*GpuContext(), ToGpu(Random(DType::kBF16, {192, 4096}, 1))),
      b(*GpuContext(), ToGpu(Random(DType::kBF16, {96, 4096}, 2)));
  std::vector<double> first;
  for (int i = 0; i < 5; ++i) {
    const Tensor c = Tensor::Empty(*GpuContext()->allocator, DType::kBF16, {192, 96});
    Fp8Gemm(GpuContext()->stream, a, b, c);
    const std::vector<double> got = ToVector(ToCpu(c));
    if (i == 0) first = got;
    EXPECT_EQ(got, first);
  }
}

TEST_F(Fp8GemmCudaTest, WhatIsNotFiniteStaysInItsRow) {
  const Tensor x = Random(DType::kBF16, {4, 64}, 1);
  x.view().as<uint16_t>()[64] = FloatToBf16(INFINITY);
  x.view().as<uint16_t>()[130] = FloatToBf16(NAN);
  const Quantized a(*GpuContext(), ToGpu(x)),
      b(*GpuContext(), ToGpu(Random(DType::kBF16, {32, 64}, 2)));
  const Tensor c = Tensor::Empty(*GpuContext()->allocator, DType::kBF16, {4, 32});
  Fp8Gemm(GpuContext()->stream, a, b, c);
  const std::vector<double> got = ToVector(ToCpu(c));
  for (int i = 0; i < 4 * 32; ++i) {
    EXPECT_EQ(std::isfinite(got[i]), i / 32 == 0 || i / 32 == 3) << i;
  }
}

}  // namespace
}  // namespace lockstep::kernels
