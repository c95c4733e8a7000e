#include "nn/random.h"

#include <cmath>
#include <numbers>

#include "base/hash.h"
#include "base/thread_pool.h"
#include "tensor/kernels/philox.h"

namespace lockstep::nn {
namespace {

constexpr int64_t kGrain = 1 << 16;  // elements a task; a multiple of a block's four words

kernels::PhiloxBlock Words(uint64_t key, int64_t block) {
  const uint64_t counter = static_cast<uint64_t>(block);
  return kernels::Philox(
      {{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 1, 0}}, key);
}

// Strictly between 0 and 1.
double Unit(uint32_t word) { return (word + 0.5) * 0x1p-32; }

// Fills elements by fours, value(words, four results).
template <typename Make>
std::vector<float> Fill(uint64_t seed, absl::string_view name, int64_t numel, const Make& make) {
  const uint64_t key = MixKeys(seed, Hash64(name));
  std::vector<float> values(numel);
  ParallelForRange(numel, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += 4) {
      double four[4];
      make(Words(key, i / 4), four);
      for (int64_t k = 0; k < std::min<int64_t>(4, end - i); ++k) {
        values[i + k] = static_cast<float>(four[k]);
      }
    }
  });
  return values;
}

}  // namespace

std::vector<float> UniformValues(uint64_t seed, absl::string_view name, int64_t numel,
                                 double bound) {
  return Fill(seed, name, numel, [bound](const kernels::PhiloxBlock& words, double* four) {
    for (int k = 0; k < 4; ++k) four[k] = bound * (2 * Unit(words.word[k]) - 1);
  });
}

std::vector<float> NormalValues(uint64_t seed, absl::string_view name, int64_t numel,
                                double standard_deviation) {
  return Fill(
      seed, name, numel, [standard_deviation](const kernels::PhiloxBlock& words, double* four) {
        for (int k = 0; k < 4; k += 2) {
          const double radius = standard_deviation * std::sqrt(-2 * std::log(Unit(words.word[k])));
          const double angle = 2 * std::numbers::pi * Unit(words.word[k + 1]);
          four[k] = radius * std::cos(angle);
          four[k + 1] = radius * std::sin(angle);
        }
      });
}

}  // namespace lockstep::nn
