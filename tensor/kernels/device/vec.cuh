// Element types and 16-byte accesses on the device.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

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

// x rounded to T's precision, as a float.
template <typename T>
__device__ __forceinline__ float RoundTo(float x) {
  return ToFloat(FromFloat<T>(x));
}

// N neighboring elements, loaded and stored by one access: 16 bytes where N = kVec<T>.
template <typename T, int N>
struct alignas(sizeof(T) * N) Vec {
  T v[N];
};

template <typename T>
inline constexpr int kVec = 16 / sizeof(T);

template <typename T, int N>
__device__ __forceinline__ void Load(const T* from, float (&to)[N]) {
  const Vec<T, N> x = *reinterpret_cast<const Vec<T, N>*>(from);
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = ToFloat(x.v[i]);
}

template <typename T, int N>
__device__ __forceinline__ void Store(T* to, const float (&from)[N]) {
  Vec<T, N> x;
#pragma unroll
  for (int i = 0; i < N; ++i) x.v[i] = FromFloat<T>(from[i]);
  *reinterpret_cast<Vec<T, N>*>(to) = x;
}

}  // namespace lockstep::kernels::device
