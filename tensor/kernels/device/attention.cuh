// What attention's kernels work on (attention.h), and which document a row belongs to.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "tensor/kernels/attention.h"

namespace lockstep::kernels::device::attention {

// A tensor [T, heads, dim] with contiguous heads.
struct Heads {
  void* data;
  int64_t row, head;  // strides, elements
  explicit Heads(const View& x) : data(x.data), row(x.stride[0]), head(x.stride[1]) {}
  template <typename T>
  __device__ T* At(int64_t r, int64_t h) const {
    return static_cast<T*>(data) + r * row + h * head;
  }
};

struct Problem {
  const int32_t *starts_q, *starts_k;
  int64_t documents, rows_q, rows_k, heads, kv_heads, dim;
  float scale, softcap;
  int64_t window;
};

inline Problem MakeProblem(const View& q, const View& k, const PackedDocuments& documents,
                           const AttentionOptions& options) {
  return {documents.cu_seqlens_q.as<int32_t>(),
          documents.cu_seqlens_k.as<int32_t>(),
          documents.size,
          q.shape[0],
          k.shape[0],
          q.shape[1],
          k.shape[1],
          q.shape[2],
          static_cast<float>(options.scale),
          static_cast<float>(options.softcap),
          options.window};
}

// The first of the indices [0, n) for which is_behind holds, n if there is none; as in a sorted
// list, it holds for all behind that one.
template <typename IsBehind>
__device__ __forceinline__ int FirstBehind(int n, const IsBehind& is_behind) {
  int low = 0, high = n;
  while (low < high) {
    const int middle = low + (high - low) / 2;
    if (is_behind(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// The document of row r: the last that starts at or before it; `documents` behind the last.
__device__ __forceinline__ int64_t DocumentOf(const int32_t* starts, int64_t documents, int64_t r) {
  return FirstBehind(static_cast<int>(documents), [&](int d) { return starts[d + 1] > r; });
}

}  // namespace lockstep::kernels::device::attention
