// Sigmoid and tanh from the special function unit: a few instructions, without branches.
#pragma once

namespace lockstep::kernels::device {

// 1 / (1 + e⁻ᶻ) to about 2⁻²²; 0 where e⁻ᶻ overflows.
__device__ __forceinline__ float Sigmoid(float z) {
  float power, sigmoid;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(z * -1.4426950408889634f));  // log₂ e
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(sigmoid) : "f"(1.0f + power));
  return sigmoid;
}

// To about 2⁻²² of 1.
__device__ __forceinline__ float Tanh(float z) { return 1.0f - 2.0f * Sigmoid(-2.0f * z); }

}  // namespace lockstep::kernels::device
