#include "tensor/kernels/e4m3.h"

#include <cmath>

#include "gtest/gtest.h"

namespace lockstep::kernels {
namespace {

// By the definition: sign · 2^(e − 7) · (1 + m/8), or sign · 2⁻⁶ · m/8 where e = 0.
double Value(int code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return code < 128 ? magnitude : -magnitude;
}

TEST(E4m3Test, EveryCodeHasItsValueAndComesBack) {
  for (int code = 0; code < 256; ++code) {
    const float value = E4m3ToFloat(static_cast<uint8_t>(code));
    if ((code & 127) == 127) {
      EXPECT_TRUE(std::isnan(value)) << code;
      EXPECT_EQ(FloatToE4m3(value), 127);
    } else {
      EXPECT_EQ(value, Value(code)) << code;
      EXPECT_EQ(std::signbit(value), code >= 128) << code;
      EXPECT_EQ(FloatToE4m3(value), code);
    }
  }
}

TEST(E4m3Test, RoundsToNearestAndTiesToEven) {
  for (int code = 0; code < 126; ++code) {
    const auto low = static_cast<float>(Value(code)), high = static_cast<float>(Value(code + 1));
    const float middle = (low + high) / 2;  // exact
    EXPECT_EQ(FloatToE4m3(std::nextafter(middle, 0.0f)), code);
    EXPECT_EQ(FloatToE4m3(middle), code + code % 2) << "tie above " << low;
    EXPECT_EQ(FloatToE4m3(std::nextafter(middle, 1e9f)), code + 1);
    EXPECT_EQ(FloatToE4m3(-middle), 128 + code + code % 2);
  }
  EXPECT_EQ(FloatToE4m3(1e-30f), 0);
  EXPECT_EQ(FloatToE4m3(-1e-44f), 128);
}

TEST(E4m3Test, SaturatesAndKeepsNan) {
  for (const float value : {448.0f, 449.0f, 464.0f, 465.0f, 1e30f, INFINITY}) {
    EXPECT_EQ(FloatToE4m3(value), 0x7E) << value;
    EXPECT_EQ(FloatToE4m3(-value), 0xFE) << value;
  }
  EXPECT_EQ(FloatToE4m3(NAN), 0x7F);
}

}  // namespace
}  // namespace lockstep::kernels
