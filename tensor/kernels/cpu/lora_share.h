// The definition of a LoraShare, in plain loops.
#pragma once

#include "tensor/kernels/lora_share.h"

namespace lockstep::kernels::cpu {

// x += scale · h bᵀ; x [T, N] with contiguous rows.
template <typename T>
void AddShare(const LoraShare& share, const View& x) {
  if (share.empty()) return;
  for (int64_t t = 0; t < x.shape[0]; ++t) {
    for (int64_t n = 0; n < x.shape[1]; ++n) {
      T sum = 0;
      for (int64_t k = 0; k < share.h.shape[1]; ++k) {
        sum += share.h.as<T>()[t * share.h.stride[0] + k * share.h.stride[1]] *
               share.b.as<T>()[n * share.b.stride[0] + k * share.b.stride[1]];
      }
      x.as<T>()[t * x.stride[0] + n] += static_cast<T>(share.scale) * sum;
    }
  }
}

}  // namespace lockstep::kernels::cpu
