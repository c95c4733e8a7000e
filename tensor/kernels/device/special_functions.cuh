// Functions of the special function unit: one or a few instructions each, without branches.
#pragma once

namespace lockstep::kernels::device {

constexpr float kLog2E = 1.4426950408889634f;
constexpr double kLn2 = 0.6931471805599453;

// 2ˣ to 2⁻²², and 1 / x to 1 ulp; subnormal numbers count as 0.
__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float Reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// The smaller of both; NaN if one is.
__device__ __forceinline__ float SmallerOrNan(float x, float y) {
  float z;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
  return z;
}

// 1 / (1 + e⁻ᶻ) to about 2⁻²²; 0 where e⁻ᶻ overflows.
__device__ __forceinline__ float Sigmoid(float z) { return Reciprocal(1.0f + Exp2(z * -kLog2E)); }

// To about 2⁻²² of 1.
__device__ __forceinline__ float Tanh(float z) { return 1.0f - 2.0f * Sigmoid(-2.0f * z); }

}  // namespace lockstep::kernels::device
