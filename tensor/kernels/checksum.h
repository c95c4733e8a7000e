// Checksum: 64 bits of any tensor's content, the same on every device.
//
//   y[0] = Σ_i mix(x[i] + c·(i + 1))  mod 2⁶⁴       x as 64-bit words; mix, c: ChecksumTerm
//
// Integers, so no order of additions matters. It is for telling contents that differ by accident:
// any one word that differs gives another sum.
//
//   x   contiguous, a multiple of 8 bytes; any dtype
//   y   [1] i64; written
#pragma once

#include <cstdint>

#include "tensor/kernels/philox.h"
#include "tensor/view.h"

namespace lockstep::kernels {

// splitmix64 (Steele, Lea, Flood 2014): its output i, from a state that word i has displaced. A
// bijection of the word.
LOCKSTEP_HOST_DEVICE inline uint64_t ChecksumTerm(uint64_t word, int64_t i) {
  uint64_t x = word + 0x9E3779B97F4A7C15u * static_cast<uint64_t>(i + 1);
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

void Checksum(const Stream& stream, const View& x, const View& y);

namespace cpu {
decltype(kernels::Checksum) Checksum;
}
namespace cuda {
decltype(kernels::Checksum) Checksum;
}

}  // namespace lockstep::kernels
