// Elements as the type that a kernel computes in.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tensor/half.h"
#include "tensor/view.h"

namespace lockstep::kernels::cpu {

// Elements [offset, offset + count) from x.data on, neighbors in memory, which are of type T, bf16
// or f16.
template <typename T>
void Convert(const View& x, int64_t offset, int64_t count, T* out) {
  switch (x.dtype) {
    case DType::kBF16:
      for (int64_t i = 0; i < count; ++i) out[i] = Bf16ToFloat(x.as<uint16_t>()[offset + i]);
      break;
    case DType::kF16:
      for (int64_t i = 0; i < count; ++i) out[i] = F16ToFloat(x.as<uint16_t>()[offset + i]);
      break;
    default:
      std::copy_n(x.as<T>() + offset, count, out);
  }
}

}  // namespace lockstep::kernels::cpu
