// FP8 as products take it: e4m3, 1 sign, 4 exponent, 3 mantissa bits (Micikevicius et al., "FP8
// Formats for Deep Learning", 2022). 2⁻⁹ to 448, no infinities; 0x7F and 0xFF are NaN.
#pragma once

#include <bit>
#include <cstdint>

namespace lockstep::kernels {

inline constexpr float kLargestE4m3 = 448;

constexpr float E4m3ToFloat(uint8_t code) {
  const uint32_t sign = static_cast<uint32_t>(code & 0x80u) << 24;
  const uint32_t magnitude = code & 0x7Fu;
  if (magnitude == 0x7F) return std::bit_cast<float>(sign | 0x7FC00000u);
  if (magnitude < 8) {  // zero and subnormal: a multiple of 2⁻⁹
    const float value = static_cast<float>(magnitude) * 0x1p-9f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
  }
  return std::bit_cast<float>(sign | ((magnitude << 20) + (120u << 23)));
}

// To nearest, ties to even; what is above 448 becomes 448, NaN 0x7F.
constexpr uint8_t FloatToE4m3(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint8_t>((bits >> 24) & 0x80u);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return 0x7F;
  if (magnitude >= std::bit_cast<uint32_t>(kLargestE4m3)) return sign | 0x7E;
  if (magnitude < std::bit_cast<uint32_t>(0x1p-6f)) {
    // Adding 2¹⁴ leaves the value's multiple of 2⁻⁹, rounded to even, in the low mantissa bits.
    const float shifted = std::bit_cast<float>(magnitude) + 0x1p14f;
    return sign | static_cast<uint8_t>(std::bit_cast<uint32_t>(shifted) -
                                       std::bit_cast<uint32_t>(0x1p14f));
  }
  const uint32_t rounded = magnitude + 0x7FFFFu + ((magnitude >> 20) & 1u);
  return sign | static_cast<uint8_t>((rounded >> 20) - (120u << 3));
}

}  // namespace lockstep::kernels
