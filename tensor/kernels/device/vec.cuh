// Element types and 16-byte accesses on the device.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

namespace lockstep::kernels::device {

using bf16 = __nv_bfloat16;

__device__ __forceinline__ float ToFloat(float x) { return x; }
__device__ __forceinline__ float ToFloat(bf16 x) { return __bfloat162float(x); }

template <typename T>
__device__ __forceinline__ T FromFloat(float x);
template <>
__device__ __forceinline__ float FromFloat<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ bf16 FromFloat<bf16>(float x) {
  return __float2bfloat16_rn(x);
}

// Two bf16 in a word, the first in its lower half, as floats: the upper half of an fp32 is a bf16.
__device__ __forceinline__ float Low(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float High(uint32_t pair) { return __uint_as_float(pair & 0xFFFF0000u); }

// N neighboring elements, loaded and stored by one access: 16 bytes where N = kVec<T>.
template <typename T, int N>
struct alignas(sizeof(T) * N) Vec {
  T v[N];
};

// The same for arithmetic: as they are in memory, in as few registers. x[i] is element i as a
// float.
template <typename T, int N>
struct alignas(sizeof(T) * N) Packed {
  T v[N];
  __device__ __forceinline__ float operator[](int i) const { return ToFloat(v[i]); }
};
// Pairs share a register.
template <int N>
requires(N % 2 == 0) struct alignas(2 * N) Packed<bf16, N> {
  uint32_t pair[N / 2];
  __device__ __forceinline__ float operator[](int i) const {
    return i % 2 == 0 ? Low(pair[i / 2]) : High(pair[i / 2]);
  }
};

// On pairs: products, each rounded once; the larger ones, where a NaN counts as nothing.
__device__ __forceinline__ uint32_t MultiplyPairs(uint32_t a, uint32_t b) {
  uint32_t to;
  asm("{ .reg .b32 minus_zero; mov.b32 minus_zero, 0x80008000; "
      "fma.rn.bf16x2 %0, %1, %2, minus_zero; }"
      : "=r"(to)
      : "r"(a), "r"(b));
  return to;
}
__device__ __forceinline__ uint32_t LargerPair(uint32_t a, uint32_t b) {
  uint32_t to;
  asm("max.bf16x2 %0, %1, %2;" : "=r"(to) : "r"(a), "r"(b));
  return to;
}

// The larger ones of two vectors' elements.
template <typename T, int N>
__device__ __forceinline__ Packed<T, N> Larger(Packed<T, N> a, const Packed<T, N>& b) {
  if constexpr (std::is_same_v<T, bf16> && N % 2 == 0) {
#pragma unroll
    for (int i = 0; i < N / 2; ++i) a.pair[i] = LargerPair(a.pair[i], b.pair[i]);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) a.v[i] = FromFloat<T>(fmaxf(a[i], b[i]));
  }
  return a;
}

// Two floats, rounded to bf16 by one instruction, in a register.
__device__ __forceinline__ uint32_t RoundPair(float low, float high) {
  const __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&two);
}

template <typename T>
inline constexpr int kVec = 16 / sizeof(T);

template <typename T, int N>
__device__ __forceinline__ Packed<T, N> LoadPacked(const T* from) {
  return *reinterpret_cast<const Packed<T, N>*>(from);
}

template <typename T, int N>
__device__ __forceinline__ void StorePacked(T* to, const Packed<T, N>& x) {
  *reinterpret_cast<Packed<T, N>*>(to) = x;
}

template <typename T, int N>
__device__ __forceinline__ void Widen(const Packed<T, N>& x, float (&to)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = x[i];
}

template <typename T, int N>
__device__ __forceinline__ Packed<T, N> Rounded(const float (&x)[N]) {
  Packed<T, N> to;
  if constexpr (std::is_same_v<T, bf16> && N % 2 == 0) {
#pragma unroll
    for (int i = 0; i < N; i += 2) to.pair[i / 2] = RoundPair(x[i], x[i + 1]);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) to.v[i] = FromFloat<T>(x[i]);
  }
  return to;
}

template <typename T, int N>
__device__ __forceinline__ void Load(const T* from, float (&to)[N]) {
  Widen(LoadPacked<T, N>(from), to);
}

template <typename T, int N>
__device__ __forceinline__ void Store(T* to, const float (&from)[N]) {
  StorePacked(to, Rounded<T>(from));
}

}  // namespace lockstep::kernels::device
