// What rms_norm_cuda.cu and add_rms_norm_cuda.cu share: one block (or one warp, for narrow rows) a
// row; the row stays in shared memory between the sum of squares and the scaling, so that device
// memory is read once.
#pragma once

#include <algorithm>

#include "tensor/kernels/device/launch.cuh"
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

}  // namespace lockstep::kernels::device
