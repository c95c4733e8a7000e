// Products of the tensor cores on 16-bit tiles, and how tiles come into shared memory and from
// there into registers (PTX ISA: mma.m16n8k16, ldmatrix, cp.async). sm_80 and newer.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace lockstep::kernels::device {

// threadIdx.x, in a way that hides from the compiler that it is the same for each `turn` ≥ 0 of a
// loop: what follows from it is computed again where it is needed instead of being kept in
// registers.
__device__ __forceinline__ unsigned ThreadId(int turn) {
  unsigned thread;
  asm volatile("{ .reg .u32 sign; shr.u32 sign, %1, 31; add.u32 %0, %2, sign; }"
               : "=r"(thread)
               : "r"(turn), "r"(threadIdx.x));
  return thread;
}

// d += a b: a [16, 16], b [16, 8] in bf16, d [16, 8] in f32. With n = lane / 4 and k = lane % 4 ·
// 2:
//   a  {row n, columns k, k+1}, {row n+8, k, k+1}, {row n, k+8, k+9}, {row n+8, k+8, k+9}
//   b  {rows k, k+1 of column n}, {rows k+8, k+9 of column n}
//   d  {row n, columns k, k+1}, {row n+8, columns k, k+1}
__device__ __forceinline__ void Mma(const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                    float (&d)[4]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
      "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// d = a b.
__device__ __forceinline__ void MmaFromZero(const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                            float (&d)[4]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
      "{%4, %5, %6, %7}, {%8, %9}, {%10, %10, %10, %10};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(0.0f));
}

// Four 8 × 8 matrices; lane l names row l % 8 (16 bytes) of matrix l / 8. to[i] is elements k, k+1
// of row n of matrix i; transposed: rows k, k+1 of column n.
__device__ __forceinline__ void LoadMatrices(uint32_t address, uint32_t (&to)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void LoadTransposed(uint32_t address, uint32_t (&to)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

// The other way round from LoadTransposed.
__device__ __forceinline__ void StoreTransposed(uint32_t address, const uint32_t (&from)[4]) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
      "r"(from[0]), "r"(from[1]), "r"(from[2]), "r"(from[3])
      : "memory");
#else
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const uint32_t row = __shfl_sync(0xFFFFFFFFu, address, i * 8 + lane % 4 * 2 + e);
      asm volatile("st.shared.u16 [%0], %1;" ::"r"(row + lane / 4 * 2),
                   "h"(static_cast<uint16_t>(from[i] >> (16 * e)))
                   : "memory");
    }
  }
#endif
}

// 16 bytes at addresses of shared memory.
__device__ __forceinline__ uint4 LoadShared(uint32_t address) {
  uint4 x;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "r"(address)
               : "memory");
  return x;
}
__device__ __forceinline__ void StoreShared(uint32_t address, const uint4& x) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(x.x), "r"(x.y),
               "r"(x.z), "r"(x.w)
               : "memory");
}

__device__ __forceinline__ void StoreWordShared(uint32_t address, uint32_t x) {
  asm volatile("st.shared.u32 [%0], %1;" ::"r"(address), "r"(x) : "memory");
}

__device__ __forceinline__ void StoreGlobal(void* to, const uint4& x) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(x.x), "r"(x.y), "r"(x.z),
               "r"(x.w)
               : "memory");
}

// 16 bytes on their way from global to shared memory; zeros where not `valid`, and nothing is read.
__device__ __forceinline__ void CopyAsync(uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(valid ? 16 : 0)
               : "memory");
}
// 4 bytes, likewise.
__device__ __forceinline__ void CopyWordAsync(uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from),
               "r"(valid ? 4 : 0)
               : "memory");
}
__device__ __forceinline__ void CommitCopies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Until at most kPending of this thread's groups are on their way.
template <int kPending>
__device__ __forceinline__ void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

__device__ __forceinline__ uint32_t SharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Where 16-byte piece `piece` of row `row` lies, in bytes, in a tile with kPieces of them in a row:
// such that 8 neighboring rows at one piece lie in different banks.
template <int kPieces>
__device__ __forceinline__ unsigned Swizzled(unsigned row, unsigned piece) {
  static_assert(kPieces == 2 || kPieces == 4 || kPieces % 8 == 0);
  const unsigned turn = kPieces < 8 ? row * kPieces / 8 % kPieces : row % 8;
  return (row * kPieces + (piece ^ turn)) * 16;
}

}  // namespace lockstep::kernels::device
