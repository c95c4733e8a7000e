// Content hashes: for caches, for data identity, and for what ranks compare at the start.
// XXH3 of the xxHash library: not cryptographic; the same on every machine.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace lockstep {

uint64_t Hash64(absl::string_view bytes, uint64_t seed = 0);

// 128 bits as 32 hexadecimal digits.
std::string HashHex(absl::string_view bytes);

// The same over bytes that come in parts; each is a mark of progress (progress.h).
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  void Update(absl::string_view bytes);
  std::string Hex() const;  // HashHex of all parts joined

 private:
  void* state_;
};

// Mixes two 64-bit keys into one; the order matters. Output b of splitmix64 (Steele, Lea, Flood
// 2014) that starts from state a.
constexpr uint64_t MixKeys(uint64_t a, uint64_t b) {
  uint64_t x = a + 0x9E3779B97F4A7C15ull * (b + 1);
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

}  // namespace lockstep
