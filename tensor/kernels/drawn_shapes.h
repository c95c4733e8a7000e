// Shapes that nobody thought of: tests of CUDA kernels take some at random beside those that they
// name. The same ones in every run, unless the environment says otherwise:
//
//   LOCKSTEP_TEST_SHAPES   how many a test draws; 2 if it is not set
//   LOCKSTEP_TEST_SEED     the seed of the first one; if it is set, a test takes drawn shapes alone
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <random>
#include <vector>

namespace lockstep::kernels {

class Draw {
 public:
  explicit Draw(uint32_t seed) : bits_(seed * 0x9E3779B9u) {}  // neighbors begin far apart

  // In [1, most], small numbers as often as large ones; every other time near a multiple of a power
  // of two, where tiles end.
  int64_t Size(int64_t most) {
    const double exponent = std::uniform_real_distribution<>(0, std::log2(most + 1.0))(bits_);
    int64_t size = static_cast<int64_t>(std::exp2(exponent));
    if (Coin()) {
      const int64_t tile = int64_t{1} << Below(10);
      size = (size + tile - 1) / tile * tile + Below(3) - 1;
    }
    return std::clamp<int64_t>(size, 1, most);
  }
  bool Coin() { return Below(2) == 0; }
  template <typename T>
  T Of(std::initializer_list<T> choices) {
    return choices.begin()[Below(static_cast<int64_t>(choices.size()))];
  }

 private:
  int64_t Below(int64_t n) { return std::uniform_int_distribution<int64_t>(0, n - 1)(bits_); }
  std::mt19937 bits_;
};

// `named`, then what `make` draws.
template <typename Shape, typename Make>
std::vector<Shape> AndDrawn(std::vector<Shape> named, const Make& make) {
  const char* const shapes = std::getenv("LOCKSTEP_TEST_SHAPES");
  const char* const seed = std::getenv("LOCKSTEP_TEST_SEED");
  if (seed != nullptr) named.clear();
  const int first = seed == nullptr ? 1 : std::atoi(seed);
  for (int i = 0; i < (shapes == nullptr ? 2 : std::atoi(shapes)); ++i) {
    Draw draw(first + i);
    named.push_back(make(draw));
  }
  return named;
}

}  // namespace lockstep::kernels
