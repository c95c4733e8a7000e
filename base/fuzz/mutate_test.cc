#include "base/fuzz/mutate.h"

#include <random>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace lockstep::fuzz {
namespace {

std::vector<std::string> Inputs(uint64_t seed) {
  const std::vector<std::string> seeds = {"{\"a\": [1, 2]}", std::string(100, 'x'), ""};
  std::mt19937_64 random(seed);
  std::vector<std::string> inputs;
  for (int i = 0; i < 2000; ++i) {
    std::string input = seeds[i % seeds.size()];
    Mutate(seeds, random, input);
    inputs.push_back(input);
  }
  return inputs;
}

TEST(Mutate, RepeatsForTheSameSeed) {
  EXPECT_EQ(Inputs(1), Inputs(1));
  EXPECT_NE(Inputs(1), Inputs(2));
}

TEST(Mutate, MakesManyDifferentInputs) {
  const std::vector<std::string> inputs = Inputs(1);
  EXPECT_GT(std::set<std::string>(inputs.begin(), inputs.end()).size(), inputs.size() / 2);
}

TEST(Mutate, KeepsInputsBounded) {
  const std::vector<std::string> seeds = {std::string(1000, 'x')};
  std::mt19937_64 random(3);
  std::string input = seeds[0];
  for (int i = 0; i < 20000; ++i) {
    Mutate(seeds, random, input);
    ASSERT_LE(input.size(), 1000u + (64u << 10));
  }
}

}  // namespace
}  // namespace lockstep::fuzz
