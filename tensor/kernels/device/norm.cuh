// What rms_norm_cuda.cu and add_rms_norm_cuda.cu share: one block (or one warp, for narrow rows) a
// row; the row stays in shared memory between the sum of squares and the scaling, so that device
// memory is read once.
#pragma once

#include <algorithm>

#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/device/lora_share.cuh"
#include "tensor/kernels/device/reduce.cuh"
#include "tensor/kernels/rms_norm.h"

namespace lockstep::kernels::device {

// Threads for rows of `width`: enough to give each about two 16-byte accesses.
inline int NormThreads(int64_t width, int n) {
  const int64_t wanted = (width / (2 * n) + 31) / 32 * 32;
  return static_cast<int>(std::clamp<int64_t>(wanted, 32, 512));
}

// Rows beyond the default 48 KiB of shared memory need the limit raised.
template <typename Kernel>
void AllowSharedMemory(Kernel kernel, size_t bytes) {
  if (bytes <= 48 * 1024) return;
  LOCKSTEP_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           static_cast<int>(bytes)));
}

// y = g · x·rstd for N neighboring elements. kLlama rounds x·rstd to T before the weight, as
// transformers does.
template <typename T, int N>
__device__ __forceinline__ void Scale(const float (&x)[N], const float (&w)[N], float rstd,
                                      NormForm form, float (&y)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    y[i] =
        form == NormForm::kGemma ? (1.0f + w[i]) * (x[i] * rstd) : w[i] * RoundTo<T>(x[i] * rstd);
  }
}

// Kernels that add LoRA's share (lora_share.cuh) take 8 rows a block, whose warps go through strips
// of 64 columns in turn.
inline constexpr int kTileThreads = 512;

struct TileLaunch {
  unsigned blocks, threads;
  size_t row_bytes;  // shared memory that keeps the block's rows in bf16
  TileLaunch(int64_t rows, int64_t width) : blocks(Blocks(rows, kTileRows)) {
    const int64_t strips = Blocks(width, kTileColumns), warps = kTileThreads / 32;
    threads = static_cast<unsigned>(32 * std::min(strips, warps));
    row_bytes = threads * 32 * Blocks(strips, threads / 32);
  }
};

// For each of the block's 8 rows, the sum over all threads; a thread hands in and gets those of its
// own two. `scratch` has a row a warp.
__device__ __forceinline__ void TileRowSums(float (&sums)[2],
                                            float (&scratch)[kTileThreads / 32][kTileRows]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
#pragma unroll
  for (int offset = 4; offset < 32; offset *= 2) {
    sums[0] += __shfl_xor_sync(0xFFFFFFFFu, sums[0], offset);
    sums[1] += __shfl_xor_sync(0xFFFFFFFFu, sums[1], offset);
  }
  if (lane < 4) {
    scratch[warp][2 * lane] = sums[0];
    scratch[warp][2 * lane + 1] = sums[1];
  }
  __syncthreads();
  sums[0] = sums[1] = 0;
  for (int other = 0; other < warps; ++other) {
    sums[0] += scratch[other][2 * (lane % 4)];
    sums[1] += scratch[other][2 * (lane % 4) + 1];
  }
}

}  // namespace lockstep::kernels::device
