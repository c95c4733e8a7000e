#include "base/fuzz/mutate.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <random>
#include <string>
#include <vector>

namespace lockstep::fuzz {
namespace {

constexpr size_t kMaxGrowth = 64 << 10;

constexpr uint64_t kLengths[] = {
    0,          1,          7,          8,          1 << 16,          1 << 20,    0x7fffffff,
    0xffffffff, 1ull << 32, 1ull << 40, 1ull << 62, (1ull << 63) - 1, 1ull << 63, ~0ull};

constexpr const char* kTokens[] = {"{",
                                   "}",
                                   "[",
                                   "]",
                                   "\"",
                                   "\\",
                                   ":",
                                   ",",
                                   "-",
                                   "0",
                                   "1e999",
                                   "-1",
                                   "null",
                                   "true",
                                   "\\u0",
                                   "\n",
                                   "{}",
                                   "[[[[[[[[",
                                   "\\ud800",
                                   "\xc0\x80",
                                   "\xff",
                                   "1.5",
                                   "{\"",
                                   "\":{",
                                   "4294967296",
                                   "9223372036854775808",
                                   "18446744073709551616"};

size_t Below(size_t n, std::mt19937_64& random) { return n == 0 ? 0 : random() % n; }

void ChangeByte(std::mt19937_64& random, std::string& s) {
  if (s.empty()) return;
  constexpr unsigned char kBytes[] = {0x00, 0x01, 0x20, 0x22, 0x5c, 0x7f, 0x80, 0xff};
  char& byte = s[Below(s.size(), random)];
  byte = random() % 2 ? static_cast<char>(byte ^ (1 << random() % 8))
                      : static_cast<char>(kBytes[random() % std::size(kBytes)]);
}

// Little-endian, half of the time at the start, where safetensors keeps its header's length.
void WriteLength(std::mt19937_64& random, std::string& s) {
  if (s.size() < 8) return;
  uint64_t value = kLengths[random() % std::size(kLengths)];
  if (random() % 2) value = s.size() + random() % 32 - 16;
  std::memcpy(&s[random() % 2 ? 0 : Below(s.size() - 7, random)], &value, 8);
}

void InsertToken(std::mt19937_64& random, std::string& s) {
  s.insert(Below(s.size() + 1, random), kTokens[random() % std::size(kTokens)]);
}

void Erase(std::mt19937_64& random, std::string& s) {
  const size_t at = Below(s.size(), random);
  s.erase(at, 1 + Below(std::min<size_t>(s.size() - at, 64), random));
}

void Truncate(std::mt19937_64& random, std::string& s) { s.resize(Below(s.size() + 1, random)); }

// Copies a part of `from` into a random place of `s`.
void InsertPart(const std::string& from, std::mt19937_64& random, std::string& s) {
  const size_t at = Below(from.size(), random);
  const std::string part = from.substr(at, 1 + Below(256, random));
  s.insert(Below(s.size() + 1, random), part);
}

}  // namespace

void Mutate(const std::vector<std::string>& seeds, std::mt19937_64& random, std::string& input) {
  size_t longest = 0;
  for (const std::string& seed : seeds) longest = std::max(longest, seed.size());
  const int changes = 1 + static_cast<int>(random() % 4);
  for (int i = 0; i < changes; ++i) {
    switch (random() % 8) {
      case 0:
      case 1:
        ChangeByte(random, input);
        break;
      case 2:
        WriteLength(random, input);
        break;
      case 3:
        InsertToken(random, input);
        break;
      case 4:
        Erase(random, input);
        break;
      case 5:
        Truncate(random, input);
        break;
      case 6:
        InsertPart(std::string(input), random, input);
        break;
      default:
        if (!seeds.empty()) InsertPart(seeds[Below(seeds.size(), random)], random, input);
    }
  }
  input.resize(std::min(input.size(), longest + kMaxGrowth));
}

}  // namespace lockstep::fuzz
