// What the kernels of cross-entropy share: the softmax's powers and their sums.
//
// Exponentials are powers of 2 of l·log₂e, which is rounded once, together with the subtraction of
// the largest. That the constant has 24 bits scales logits by 1 + 10⁻⁸.
#pragma once

#include <cstdint>
#include <type_traits>

#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/reduce.cuh"
#include "tensor/kernels/device/special_functions.cuh"

namespace lockstep::kernels::device::softmax {

// How a soft cap is computed: for bf16 by the special function unit, to 2⁻²² of the cap; for fp32
// as exactly as fp32 can.
enum class Cap { kNone, kFast, kExact };

// l·log₂e = v·Unit(), where v is the logit itself, or tanh(logit / cap).
struct Arguments {
  int64_t row_stride;
  int rows, vocab;
  const int32_t* targets;
  double* nll;
  float cap, to_power, unit, grad_scale;  // to_power = 2 log₂e / cap, unit = cap log₂e
  bool gradient;
};

template <Cap kCap>
__device__ __forceinline__ float Unit(const Arguments& a) {
  return kCap == Cap::kNone ? kLog2E : a.unit;
}

// v of neighboring logits. Fast: tanh x = 1 − 2 / (1 + p), where p = exp 2x; two neighbors share a
// reciprocal, as the special function unit is what all wait for, so p stops at 2⁶⁰, where tanh
// is 1.
template <Cap kCap, typename T, int N>
__device__ __forceinline__ void Values(const Packed<T, N>& logits, const Arguments& a,
                                       float (&v)[N]) {
  Widen(logits, v);
  if constexpr (kCap == Cap::kFast) {
    float inverse[N];
#pragma unroll
    for (int i = 0; i < N; ++i) inverse[i] = 1 + Exp2(SmallerOrNan(v[i] * a.to_power, 60.0f));
    if constexpr (N == 1) {
      inverse[0] = Reciprocal(inverse[0]);
    } else {
#pragma unroll
      for (int i = 0; i < N; i += 2) {
        const float of_both = Reciprocal(inverse[i] * inverse[i + 1]), first = inverse[i];
        inverse[i] = of_both * inverse[i + 1];
        inverse[i + 1] = of_both * first;
      }
    }
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = fmaf(-2.0f, inverse[i], 1.0f);
  } else if constexpr (kCap == Cap::kExact) {
#pragma unroll
    for (int i = 0; i < N; ++i) v[i] = tanhf(v[i] / a.cap);
  }
}

// v of one.
template <Cap kCap>
__device__ __forceinline__ float Value(float logit, const Arguments& a) {
  float v[1];
  Values<kCap>(Packed<float, 1>{{logit}}, a, v);
  return v[0];
}

// l's slope by the logit.
template <Cap kCap>
__device__ __forceinline__ float Slope(float v) {
  return kCap == Cap::kNone ? 1.0f : fmaf(-v, v, 1.0f);
}

// 2^(l·log₂e − base).
template <Cap kCap>
__device__ __forceinline__ float Power(float v, float base, const Arguments& a) {
  return Exp2(fmaf(v, Unit<kCap>(a), -base));
}

template <typename T, int N>
__device__ __forceinline__ float LargestOf(const Packed<T, N>& x) {
  float largest = x[0];
#pragma unroll
  for (int i = 1; i < N; ++i) largest = fmaxf(largest, x[i]);
  return largest;
}

// The base of powers of which `largest` is the largest logit; any where there is nothing.
template <Cap kCap>
__device__ __forceinline__ float BaseOf(float largest, const Arguments& a) {
  return largest == -INFINITY ? 0 : Value<kCap>(largest, a) * Unit<kCap>(a);
}

// Σ 2^(l·log₂e − base) over some elements; base is their largest l·log₂e, −∞ where the sum is 0.
// A NaN shows in the sum.
struct PowerSum {
  float base, sum;
};

// Over all elements that lanes have parts of, in every lane; added in order.
template <int kEach>
__device__ __forceinline__ PowerSum WarpTotal(const PowerSum (&mine)[kEach]) {
  float base = mine[0].base, sum = 0;
#pragma unroll
  for (int i = 1; i < kEach; ++i) base = fmaxf(base, mine[i].base);
  base = WarpLargest(base);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    if (mine[i].sum != 0) sum += mine[i].sum * Exp2(mine[i].base - base);
  }
  return {base, WarpSum(sum)};
}

// What is written of a target, once the row's sum is known.
template <Cap kCap>
__device__ __forceinline__ double Nll(float logit, const PowerSum& row, const Arguments& a) {
  const double v = Value<kCap>(logit, a);
  return (log2(static_cast<double>(row.sum)) + row.base - v * Unit<kCap>(a)) * kLn2;
}
template <Cap kCap, typename T>
__device__ __forceinline__ void WriteTarget(float logit, const PowerSum& row, const Arguments& a,
                                            T* to) {
  const float v = Value<kCap>(logit, a);
  const float share = Power<kCap>(v, row.base, a) / row.sum;
  *to = FromFloat<T>((share - 1) * a.grad_scale * Slope<kCap>(v));
}

}  // namespace lockstep::kernels::device::softmax
