// A small world in words: people, a market, goods. Everything that the example's texts are made of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep::examples {

// The same numbers on every machine (splitmix64).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  int Below(int bound) { return static_cast<int>(Next() % static_cast<uint64_t>(bound)); }
  const std::string& Of(const std::vector<std::string>& words) {
    return words[Below(static_cast<int>(words.size()))];
  }

 private:
  uint64_t state_;
};

// "three red apples".
struct Wish {
  int count = 1;
  std::string adjective, singular, plural;
  std::string Words() const;  // as people say it
};

// What the base model reads: a few sentences about somebody on a market day.
std::string Story(Random& random);

// What fine-tuning teaches: an order as somebody says it, and the slip that is written for it.
struct Order {
  std::string instruction, output;
};
Order MakeOrder(Random& random);

}  // namespace lockstep::examples
