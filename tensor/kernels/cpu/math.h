// Elementary functions and reductions of CPU kernels, in forms that the compiler vectorizes.
//
// Reductions gather in a fixed number of lanes, which are added in a fixed order: the bits depend
// on the length alone.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace lockstep::kernels::cpu {

// e^x. The f32 form is 2^n · p(r), |r| ≤ ln2/2, with a polynomial of degree 6: relative error below
// 2·2⁻²⁴ where the result is a normal number; 0 below −87.3, which only gives up subnormal results;
// infinite above 88.7; NaN for NaN.
inline double Exp(double x) { return std::exp(x); }
inline float Exp(float x) {
  const float n = std::nearbyint(x * 1.44269504f);
  // ln 2 in two parts, the first with trailing zeros, so that n·ln2 is subtracted almost exactly.
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // 2^n as 2^(n/2) · 2^(n − n/2): n = 128 has no float of its own. Clamped for the conversion only.
  const int32_t bounded = static_cast<int32_t>(n > 200.0f ? 200.0f : (n > -200.0f ? n : -200.0f));
  const int32_t half = bounded >> 1;
  const float scale = std::bit_cast<float>((half + 127) << 23);
  const float rest = std::bit_cast<float>((bounded - half + 127) << 23);
  const float y = (p * scale) * rest;
  if (x < -87.3f) return 0.0f;
  if (x > 88.8f) return INFINITY;
  return x == x ? y : x;
}

// 1 / (1 + e^−x)
template <typename T>
T Sigmoid(T x) {
  return T{1} / (T{1} + Exp(-x));
}

// tanh by way of e^(−2|x|), which never overflows; a small |x| takes the odd Taylor polynomial, as
// 1 − e^(−2|x|) would cancel.
inline double Tanh(double x) { return std::tanh(x); }
inline float Tanh(float x) {
  const float a = std::abs(x);
  const float e = Exp(-2.0f * a);
  const float large = (1.0f - e) / (1.0f + e);
  const float s = x * x;
  const float small =
      a * (1.0f + s * (-1.0f / 3 + s * (2.0f / 15 + s * (-17.0f / 315 + s * (62.0f / 2835)))));
  return std::copysign(a < 0.3f ? small : large, x);
}

inline constexpr int kLanes = 16;

template <typename T>
T AddLanes(const T (&lanes)[kLanes]) {
  T sum[kLanes / 2];
  for (int i = 0; i < 8; ++i) sum[i] = lanes[i] + lanes[i + 8];
  for (int i = 0; i < 4; ++i) sum[i] += sum[i + 4];
  return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

// Σ term(i) over [0, n), added as A.
template <typename A, typename Term>
A SumOf(int64_t n, const Term& term) {
  A lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) lanes[l] += static_cast<A>(term(i + l));
  }
  for (int l = 0; i < n; ++i, ++l) lanes[l] += static_cast<A>(term(i));
  return AddLanes(lanes);
}

template <typename T>
T Dot(const T* a, const T* b, int64_t n) {
  return SumOf<T>(n, [=](int64_t i) { return a[i] * b[i]; });
}

template <typename T>
T MaxOf(const T* x, int64_t n, T start) {
  T lanes[kLanes];
  for (T& lane : lanes) lane = start;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
  }
  for (; i < n; ++i) lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
  for (int l = 1; l < kLanes; ++l) lanes[0] = lanes[l] > lanes[0] ? lanes[l] : lanes[0];
  return lanes[0];
}

}  // namespace lockstep::kernels::cpu
