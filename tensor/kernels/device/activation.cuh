// The activations of gated linear units.
#pragma once

#include <type_traits>

#include "tensor/kernels/device/special_functions.cuh"
#include "tensor/kernels/glu.h"

namespace lockstep::kernels::device {

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

// z/2 · (1 + tanh u) = z · sigmoid(2u), which does not cancel where z is far below 0.
template <>
struct Activation<GluActivation::kGeluTanh> {
  __device__ static void Eval(float z, float& act, float& slope) {
    constexpr float kRoot = 1.5957691216057308f, kCubic = 0.044715f;  // 2 √(2/π)
    const float square = z * z;
    const float sigmoid = Sigmoid(z * (kRoot + kRoot * kCubic * square));
    act = z * sigmoid;
    slope = sigmoid + act * (1.0f - sigmoid) * (kRoot + 3.0f * kRoot * kCubic * square);
  }
};

// Calls body with the activation as a compile-time value.
template <typename Body>
void DispatchActivation(GluActivation activation, const Body& body) {
  if (activation == GluActivation::kSilu) {
    body(std::integral_constant<GluActivation, GluActivation::kSilu>());
  } else {
    body(std::integral_constant<GluActivation, GluActivation::kGeluTanh>());
  }
}

}  // namespace lockstep::kernels::device
