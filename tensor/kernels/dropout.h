// Dropout: y[t, c] = keep(t, c) · x[t, c] / (1 − p), added to y instead if `accumulate`
//
//   x           [T, C]  f64 or f32, on CUDA f32 or bf16; rows may be strided
//   token_keys  [T]     i64: names a token, whatever pack and row it is in
//   y           [T, C]  x's dtype; written, read too if `accumulate`; may be x unless `accumulate`
// keep(t, c) is false with probability p: word c mod 4 of
//   Philox(counter = (token_keys[t] as two words, low first; ⌊c/4⌋; 0), key)
// is below p · 2³². The mask is not stored: the gradient is the same function of dy. It depends on
// key, token and channel alone, not on how tokens are packed, nor on dtype or device.
#pragma once

#include <cstdint>

#include "tensor/kernels/philox.h"
#include "tensor/view.h"

namespace lockstep::kernels {

struct DropoutOptions {
  double p = 0;      // in [0, 1)
  uint64_t key = 0;  // of the run's seed and the module
  bool accumulate = false;
};

void Dropout(const Stream& stream, const View& x, const View& token_keys, const View& y,
             const DropoutOptions& options);

// An element is dropped if its word is below this.
LOCKSTEP_HOST_DEVICE constexpr uint32_t DropoutThreshold(double p) {
  return static_cast<uint32_t>(p * 4294967296.0);
}

// The words of channels 4·quad … 4·quad + 3 of a token.
LOCKSTEP_HOST_DEVICE constexpr PhiloxBlock DropoutWords(int64_t token_key, int64_t quad,
                                                        const PhiloxKeys& keys) {
  const uint64_t token = static_cast<uint64_t>(token_key);
  return Philox({{static_cast<uint32_t>(token), static_cast<uint32_t>(token >> 32),
                  static_cast<uint32_t>(quad), 0}},
                keys);
}

namespace cpu {
decltype(kernels::Dropout) Dropout;
}
namespace cuda {
decltype(kernels::Dropout) Dropout;
}

}  // namespace lockstep::kernels
