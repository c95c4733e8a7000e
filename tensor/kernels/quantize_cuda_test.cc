#include "tensor/kernels/quantize.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

// Codes and scales of bf16 values are those of the CPU, bit for bit.
void ExpectEqualToCpu(const Tensor& x, const Tensor& factors) {
  const int64_t rows = x.dim(0), width = x.dim(1);
  const Guarded want(DType::kU8, {rows, width}), want_scales(DType::kF32, {rows});
  QuantizeRows(CpuContext().stream, As(DType::kF32, x), factors.defined() ? factors.view() : View{},
               {want, want_scales});
  const GpuGuarded got(DType::kU8, {rows, width}), got_scales(DType::kF32, {rows});
  const Tensor gpu_factors = factors.defined() ? ToGpu(factors) : Tensor();
  QuantizeRows(GpuContext()->stream, ToGpu(x), factors.defined() ? gpu_factors.view() : View{},
               {got, got_scales});
  EXPECT_EQ(ToVector(ToCpu(got.tensor())), ToVector(want)) << rows << " x " << width;
  EXPECT_EQ(ToVector(ToCpu(got_scales.tensor())), ToVector(want_scales)) << rows << " x " << width;
}

TEST(QuantizeCudaTest, MatchesTheCpuBitForBit) {
  SKIP_WITHOUT_GPU();
  for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{1, 16},
                                    {3, 240},
                                    {64, 256},
                                    {5, 4096},
                                    {2, 28672},
                                    {2, 32784},
                                    {1, 106496}}) {
    const Tensor x = Random(DType::kBF16, {rows, width}, 1, 1e-5);
    ExpectEqualToCpu(x, {});
    ExpectEqualToCpu(x, Random(DType::kF32, {width}, 2));
  }
}

TEST(QuantizeCudaTest, EveryFiniteBf16) {
  SKIP_WITHOUT_GPU();
  const Tensor x = Tensor::Empty(*CpuContext().allocator, DType::kBF16, {255, 256});
  for (int i = 0; i < 255 * 256; ++i) {
    x.view().as<uint16_t>()[i] = static_cast<uint16_t>(i % 2 << 15 | i / 2);
  }
  ExpectEqualToCpu(x, {});  // a row has one exponent
  const Tensor mixed = Tensor::Empty(*CpuContext().allocator, DType::kBF16, {255, 256});
  for (int i = 0; i < 255 * 256; ++i) {
    mixed.view().as<uint16_t>()[i] = x.view().as<uint16_t>()[i * 12343LL % (255 * 256)];
  }
  ExpectEqualToCpu(mixed, {});
}

// Rows whose scale is 1 exactly: all ties, down to the least code and below.
TEST(QuantizeCudaTest, Ties) {
  SKIP_WITHOUT_GPU();
  std::vector<double> values;
  for (int shift = 0; shift < 20; ++shift) {
    for (int i = 0; i < 256; ++i) values.push_back(i == 0 ? 448 : std::ldexp(i, -shift));
  }
  ExpectEqualToCpu(FromVector(DType::kBF16, {20, 256}, values), {});
}

TEST(QuantizeCudaTest, WhatIsNotFiniteStaysInItsRow) {
  SKIP_WITHOUT_GPU();
  const Tensor x = Random(DType::kBF16, {4, 64}, 1);
  x.view().as<uint16_t>()[64] = FloatToBf16(INFINITY);
  x.view().as<uint16_t>()[140] = FloatToBf16(NAN);
  for (int c = 0; c < 64; ++c) x.view().as<uint16_t>()[192 + c] = 0;
  ExpectEqualToCpu(x, {});
}

TEST(QuantizeCudaTest, ReadsRowsOfAWiderMatrix) {
  SKIP_WITHOUT_GPU();
  const Tensor x = Random(DType::kBF16, {6, 128}, 1);
  const GpuGuarded got(DType::kU8, {6, 48}), scales(DType::kF32, {6});
  QuantizeRows(GpuContext()->stream, ToGpu(x).Slice(1, 32, 80), {}, {got, scales});
  const Guarded want(DType::kU8, {6, 48}), want_scales(DType::kF32, {6});
  QuantizeRows(CpuContext().stream, As(DType::kF32, x).Slice(1, 32, 80), {}, {want, want_scales});
  EXPECT_EQ(ToVector(ToCpu(got.tensor())), ToVector(want));
}

TEST(QuantizeCudaTest, CodesTransposed) {
  SKIP_WITHOUT_GPU();
  std::vector<double> codes(80 * 112), want(112 * 80);
  for (int t = 0; t < 80; ++t) {
    for (int c = 0; c < 112; ++c) want[c * 80 + t] = codes[t * 112 + c] = (t * 112 + c) * 7 % 251;
  }
  const GpuGuarded got(DType::kU8, {112, 80});
  TransposeCodes(GpuContext()->stream, ToGpu(FromVector(DType::kU8, {80, 112}, codes)), got);
  EXPECT_EQ(ToVector(ToCpu(got.tensor())), want);
}

}  // namespace
}  // namespace lockstep::kernels
