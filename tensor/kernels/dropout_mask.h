// DropoutMask: what dropout.h keeps of T tokens and C channels, a bit each: drawn once, for kernels
// that drop while they read.
//
//   token_keys  [T]     i64
//   bits        [T, B]  u8, contiguous, B = DropoutMaskBytes(C); written
// Channel c's bit is DropoutBit(c) of byte DropoutByte(c), and is set where dropout.h's keep(t, c)
// is true; those of channels from C on are drawn too. So 8 neighboring channels are at one bit of 8
// neighboring bytes, which is how tensor cores want them.
#pragma once

#include <cstdint>

#include "tensor/kernels/philox.h"
#include "tensor/view.h"

namespace lockstep::kernels {

struct DropoutMask {
  View bits = {};  // no view (rank 0): nothing is dropped
  double p = 0;

  bool empty() const { return bits.rank == 0; }
  double scale() const { return 1 / (1 - p); }  // of what is kept
};

constexpr int64_t DropoutMaskBytes(int64_t channels) { return (channels + 127) / 128 * 16; }
LOCKSTEP_HOST_DEVICE constexpr int64_t DropoutByte(int64_t c) { return c / 64 * 8 + c % 8; }
LOCKSTEP_HOST_DEVICE constexpr int64_t DropoutBit(int64_t c) { return c % 64 / 8; }

// `key` is DropoutOptions::key; 0 ≤ p < 1.
void DrawDropout(const Stream& stream, const View& token_keys, uint64_t key,
                 const DropoutMask& mask);

namespace cpu {
decltype(kernels::DrawDropout) DrawDropout;
}
namespace cuda {
decltype(kernels::DrawDropout) DrawDropout;
}

}  // namespace lockstep::kernels
