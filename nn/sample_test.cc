#include "nn/sample.h"

#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lockstep::nn {
namespace {

// log of 0.1, 0.4, 0.2, 0.25, 0.05
const std::vector<float> kLogits = {std::log(0.1f), std::log(0.4f), std::log(0.2f), std::log(0.25f),
                                    std::log(0.05f)};

// How often each token is drawn among many, as shares.
std::map<int32_t, double> Shares(const SampleOptions& options) {
  constexpr int kDraws = 20000;
  std::map<int32_t, double> shares;
  for (int i = 0; i < kDraws; ++i) {
    const auto token = SampleToken(kLogits, options, i);
    EXPECT_TRUE(token.ok());
    shares[*token] += 1.0 / kDraws;
  }
  return shares;
}

TEST(SampleTest, GreedyTakesTheFirstOfTheLikeliest) {
  EXPECT_EQ(*SampleToken({1.0f, 7.0f, 3.0f, 7.0f}, {}, 0), 1);
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(*SampleToken({-infinity, -infinity, 2.0f}, {.temperature = 1.0}, 0), 2);
}

TEST(SampleTest, OfEqualsTheSmallerIdIsLikelier) {
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(*SampleToken({1.0f, 7.0f, 7.0f}, {.temperature = 1.0, .top_k = 1}, i), 1);
  }
}

TEST(SampleTest, DrawsWithTheProbabilitiesOfSoftmax) {
  const auto shares = Shares({.temperature = 1.0});
  EXPECT_NEAR(shares.at(0), 0.1, 0.01);
  EXPECT_NEAR(shares.at(1), 0.4, 0.01);
  EXPECT_NEAR(shares.at(2), 0.2, 0.01);
  EXPECT_NEAR(shares.at(3), 0.25, 0.01);
  EXPECT_NEAR(shares.at(4), 0.05, 0.01);
}

TEST(SampleTest, TemperatureFlattensAndSharpens) {
  // p² / Σ p² and √p / Σ √p.
  EXPECT_NEAR(Shares({.temperature = 0.5}).at(1), 0.16 / 0.275, 0.01);
  const double roots =
      std::sqrt(0.1) + std::sqrt(0.4) + std::sqrt(0.2) + std::sqrt(0.25) + std::sqrt(0.05);
  EXPECT_NEAR(Shares({.temperature = 2.0}).at(1), std::sqrt(0.4) / roots, 0.01);
}

TEST(SampleTest, TopKKeepsTheLikeliest) {
  const auto shares = Shares({.temperature = 1.0, .top_k = 2});
  EXPECT_EQ(shares.size(), 2);
  EXPECT_NEAR(shares.at(1), 0.4 / 0.65, 0.01);
  EXPECT_NEAR(shares.at(3), 0.25 / 0.65, 0.01);
}

TEST(SampleTest, TopPKeepsTheFewestThatReachIt) {
  EXPECT_EQ(Shares({.temperature = 1.0, .top_p = 0.3}).size(), 1);
  EXPECT_EQ(Shares({.temperature = 1.0, .top_p = 0.5}).size(), 2);
  const auto shares = Shares({.temperature = 1.0, .top_p = 0.7});
  EXPECT_EQ(shares.size(), 3);
  EXPECT_NEAR(shares.at(2), 0.2 / 0.85, 0.01);
  // top_p is a share of what top_k left: 0.4 of 0.65 is more than 0.6 of it.
  EXPECT_EQ(Shares({.temperature = 1.0, .top_k = 2, .top_p = 0.6}).size(), 1);
}

TEST(SampleTest, ADrawDependsOnSeedAndIndexAlone) {
  const auto draw = [](uint64_t seed, int64_t index) {
    return *SampleToken(kLogits, {.temperature = 1.0, .seed = seed}, index);
  };
  int other_seed = 0, other_index = 0;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(draw(1, i), draw(1, i));
    other_seed += draw(1, i) != draw(2, i);
    other_index += draw(1, i) != draw(1, i + 1);
  }
  EXPECT_GT(other_seed, 30);
  EXPECT_GT(other_index, 30);
}

TEST(SampleTest, ALogitThatIsNoNumberIsAnError) {
  const auto token = SampleToken({0.0f, NAN}, {}, 0);
  EXPECT_THAT(token.status().message(), ::testing::HasSubstr("token 1 is not a number"));
}

}  // namespace
}  // namespace lockstep::nn
