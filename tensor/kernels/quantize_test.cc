#include "tensor/kernels/quantize.h"

#include "tensor/kernels/e4m3.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(QuantizeTest, ARowIsItsScaleTimesItsCodes) {
  const Tensor x = Random(DType::kF32, {5, 48}, 1, 3.0);
  x.view().as<float>()[48] = -1000;  // row 1 has an outlier
  const Guarded codes(DType::kU8, {5, 48}), scales(DType::kF32, {5});
  QuantizeRows(CpuContext().stream, x, {}, {codes, scales});
  for (int64_t t = 0; t < 5; ++t) {
    const float scale = scales.tensor().view().as<float>()[t];
    float largest = 0;
    for (int64_t c = 0; c < 48; ++c) {
      const float value = x.view().as<float>()[t * 48 + c];
      const float got = scale * E4m3ToFloat(codes.tensor().view().as<uint8_t>()[t * 48 + c]);
      largest = std::max(largest, std::abs(value));
      // Half of the last of 4 bits; below 2⁻⁶ half of the least step.
      EXPECT_LE(std::abs(got - value), 1.0001f * std::max(std::abs(value) / 16, scale * 0x1p-10f));
    }
    EXPECT_EQ(scale, largest / 448);
  }
}

TEST(QuantizeTest, FactorsMultiplyColumns) {
  const Tensor x = Random(DType::kF32, {3, 32}, 1), factors = Random(DType::kF32, {32}, 2);
  std::vector<double> products = ToVector(x);
  for (size_t i = 0; i < products.size(); ++i) {
    products[i] = static_cast<float>(products[i] * ToVector(factors)[i % 32]);
  }
  const Guarded codes(DType::kU8, {3, 32}), scales(DType::kF32, {3});
  const Guarded want(DType::kU8, {3, 32}), want_scales(DType::kF32, {3});
  QuantizeRows(CpuContext().stream, x, factors, {codes, scales});
  QuantizeRows(CpuContext().stream, FromVector(DType::kF32, {3, 32}, products), {},
               {want, want_scales});
  EXPECT_EQ(ToVector(codes), ToVector(want));
  EXPECT_EQ(ToVector(scales), ToVector(want_scales));
}

TEST(QuantizeTest, ARowWithoutAnythingAndOneThatIsNotFinite) {
  const Tensor x = FromVector(DType::kF32, {4, 16}, std::vector<double>(64, 0.0));
  x.view().as<float>()[16] = INFINITY;
  x.view().as<float>()[32] = NAN;
  x.view().as<float>()[33] = 1;
  x.view().as<float>()[48] = 1e-44f;
  const Guarded codes(DType::kU8, {4, 16}), scales(DType::kF32, {4});
  QuantizeRows(CpuContext().stream, x, {}, {codes, scales});
  const std::vector<double> got = ToVector(codes), of = ToVector(scales);
  EXPECT_EQ(std::vector<double>(got.begin(), got.begin() + 16), std::vector<double>(16, 0.0));
  EXPECT_GT(of[0], 0);
  EXPECT_EQ(of[1], INFINITY);
  EXPECT_EQ(got[16], 0x7F);
  EXPECT_EQ(got[32], 0x7F);
  EXPECT_EQ(got[33], 0x7E) << "the largest of the others";
  EXPECT_EQ(got[48], 0);
}

TEST(QuantizeTest, TheLargestOfARowBecomesTheLargestCode) {
  std::vector<double> values;
  for (double largest = 0x1p-100; largest < 1e38; largest *= 1.37) {
    values.insert(values.end(), 16, static_cast<float>(largest));
  }
  const auto rows = static_cast<int64_t>(values.size() / 16);
  const Guarded codes(DType::kU8, {rows, 16}), scales(DType::kF32, {rows});
  QuantizeRows(CpuContext().stream, FromVector(DType::kF32, {rows, 16}, values), {},
               {codes, scales});
  EXPECT_EQ(ToVector(codes), std::vector<double>(values.size(), 0x7E));
}

TEST(QuantizeTest, CodesTransposed) {
  std::vector<double> codes(16 * 40), want(40 * 16);
  for (int t = 0; t < 16; ++t) {
    for (int c = 0; c < 40; ++c) want[c * 16 + t] = codes[t * 40 + c] = (t * 40 + c) * 7 % 251;
  }
  const Guarded got(DType::kU8, {40, 16});
  TransposeCodes(CpuContext().stream, FromVector(DType::kU8, {16, 40}, codes), got);
  EXPECT_EQ(ToVector(got), want);
}

}  // namespace
}  // namespace lockstep::kernels
