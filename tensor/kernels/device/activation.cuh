// The activations of gated linear units.
#pragma once

#include "tensor/kernels/glu.h"

namespace lockstep::kernels::device {

// act(z) and its derivative, in fp32.
template <GluActivation kActivation>
struct Activation;

template <>
struct Activation<GluActivation::kSilu> {
  __device__ static void Eval(float z, float& act, float& slope) {
    const float sigmoid = __fdividef(1.0f, 1.0f + __expf(-z));  // 0 where exp overflows
    act = z * sigmoid;
    slope = sigmoid * (1.0f + z * (1.0f - sigmoid));
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
