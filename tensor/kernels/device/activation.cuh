// The activations of gated linear units.
#pragma once

#include "tensor/kernels/glu.h"

namespace lockstep::kernels::device {

// 1 / (1 + e⁻ᶻ) to about 2⁻²²; 0 where e⁻ᶻ overflows.
__device__ __forceinline__ float Sigmoid(float z) {
  float power, sigmoid;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(z * -1.4426950408889634f));  // log₂ e
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(sigmoid) : "f"(1.0f + power));
  return sigmoid;
}

// act(z) and its derivative, in fp32.
template <GluActivation kActivation>
struct Activation;

template <>
struct Activation<GluActivation::kSilu> {
  __device__ static void Eval(float z, float& act, float& slope) {
    const float sigmoid = Sigmoid(z);
    act = z * sigmoid;
    slope = sigmoid + act * (1.0f - sigmoid);
  }
};

template <>
struct Activation<GluActivation::kGeluTanh> {
  __device__ static void Eval(float z, float& act, float& slope) {
    constexpr float kRoot = 0.7978845608028654f, kCubic = 0.044715f;  // √(2/π)
    const float t = tanhf(kRoot * (z + kCubic * z * z * z));
    act = 0.5f * z * (1.0f + t);
    slope = 0.5f * (1.0f + t) + 0.5f * z * (1.0f - t * t) * kRoot * (1.0f + 3.0f * kCubic * z * z);
  }
};

}  // namespace lockstep::kernels::device
