// Sums over a warp and over a block, in an order that depends on the launch alone.
#pragma once

namespace lockstep::kernels::device {

template <typename T>
__device__ __forceinline__ T WarpSum(T x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, offset);
  return x;
}

template <typename T>
__device__ __forceinline__ T WarpMax(T x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const T other = __shfl_xor_sync(0xFFFFFFFFu, x, offset);
    x = x > other ? x : other;
  }
  return x;
}

// The largest of the lanes' floats, by one instruction: as integers they have the same order if the
// bits of negative ones, but for the sign, are turned round. A NaN may be largest, or count as
// nothing.
__device__ __forceinline__ float WarpLargest(float x) {
  const auto turned = [](int bits) { return bits ^ (bits >> 31 & 0x7FFFFFFF); };
  return __int_as_float(turned(__reduce_max_sync(0xFFFFFFFFu, turned(__float_as_int(x)))));
}

// The sum over all threads of the block, in every thread. `scratch` holds 32 elements of shared
// memory; the block is a multiple of 32 threads. May be called again at once.
template <typename T>
__device__ __forceinline__ T BlockSum(T x, T* scratch) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  x = WarpSum(x);
  __syncthreads();
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  return WarpSum(lane < warps ? scratch[lane] : T(0));
}

}  // namespace lockstep::kernels::device
