// Philox 4x32-10, a counter-based random number generator: 128 random bits as a pure function of a
// 64-bit key and a 128-bit counter, so that there is no state to store, order or resume.
// Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
// For host and device code.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define LOCKSTEP_HOST_DEVICE __host__ __device__
#else
#define LOCKSTEP_HOST_DEVICE
#endif

namespace lockstep::kernels {

struct PhiloxBlock {
  uint32_t word[4];
};

// The keys of the rounds: a kernel that is given them need not add them up in each thread.
struct PhiloxKeys {
  uint32_t round[10][2];
};

LOCKSTEP_HOST_DEVICE constexpr PhiloxKeys ExpandPhiloxKey(uint64_t key) {
  PhiloxKeys keys = {};
  for (uint32_t i = 0; i < 10; ++i) {
    keys.round[i][0] = static_cast<uint32_t>(key) + i * 0x9E3779B9u;
    keys.round[i][1] = static_cast<uint32_t>(key >> 32) + i * 0xBB67AE85u;
  }
  return keys;
}

LOCKSTEP_HOST_DEVICE constexpr PhiloxBlock Philox(PhiloxBlock counter, const PhiloxKeys& keys) {
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * counter.word[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * counter.word[2];
    counter = {{static_cast<uint32_t>(product1 >> 32) ^ counter.word[1] ^ keys.round[round][0],
                static_cast<uint32_t>(product1),
                static_cast<uint32_t>(product0 >> 32) ^ counter.word[3] ^ keys.round[round][1],
                static_cast<uint32_t>(product0)}};
  }
  return counter;
}

LOCKSTEP_HOST_DEVICE constexpr PhiloxBlock Philox(PhiloxBlock counter, uint64_t key) {
  return Philox(counter, ExpandPhiloxKey(key));
}

}  // namespace lockstep::kernels
