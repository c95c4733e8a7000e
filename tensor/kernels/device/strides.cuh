// Elements of views of any strides.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "tensor/view.h"

namespace lockstep::kernels::device {

// Where element n of a row-major walk through x lies, in elements from x.data.
__device__ __forceinline__ int64_t OffsetOf(const View& x, int64_t n) {
  int64_t offset = 0;
  for (int d = x.rank - 1; d >= 0; --d) {
    offset += n % x.shape[d] * x.stride[d];
    n /= x.shape[d];
  }
  return offset;
}

}  // namespace lockstep::kernels::device
