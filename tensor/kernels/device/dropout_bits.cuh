// Bits of a dropout mask (dropout_mask.h) as masks of neighboring elements: they lie at one bit of
// neighboring bytes. `bytes` are shifted left so that the elements' bit is each byte's highest
// (AtTop); the rest is one instruction (PTX ISA: prmt, which can repeat a sign).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace lockstep::kernels::device {

// Bit `bit` of each byte, at the top; what comes from the byte below is not read.
__device__ __forceinline__ uint32_t AtTop(uint32_t bytes, int bit) { return bytes << (7 - bit); }

// A byte of shared memory; and as two bytes one of each of two rows, `row_bytes` apart.
__device__ __forceinline__ uint32_t LoadByte(uint32_t address) {
  uint32_t x;
  asm volatile("ld.shared.u8 %0, [%1];" : "=r"(x) : "r"(address) : "memory");
  return x;
}
__device__ __forceinline__ uint32_t LoadTwoRows(uint32_t address, uint32_t row_bytes) {
  return LoadByte(address) | LoadByte(address + row_bytes) << 8;
}

template <uint32_t kSelector>
__device__ __forceinline__ uint32_t Signs(uint32_t bytes) {
  uint32_t mask;
  asm("prmt.b32 %0, %1, 0, %2;" : "=r"(mask) : "r"(bytes), "n"(kSelector));
  return mask;
}

// For two 16-bit elements in a word: those of bytes kFirst (0 or 2) and kFirst + 1.
template <int kFirst>
__device__ __forceinline__ uint32_t KeptPair(uint32_t at_top) {
  return Signs<0x9988u + 0x1111u * kFirst>(at_top);
}
// The 32-bit element of byte kByte, or 0.
template <int kByte>
__device__ __forceinline__ float Kept(uint32_t at_top, float x) {
  return __uint_as_float(__float_as_uint(x) & Signs<0x8888u + 0x1111u * kByte>(at_top));
}

}  // namespace lockstep::kernels::device
