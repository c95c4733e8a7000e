#include "dist/agreement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace lockstep::dist {
namespace {

using namespace std::chrono_literals;  // NOLINT
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

using Facts = std::map<std::string, std::string>;

// What each rank gets to hear; ranks with no facts do not come.
std::vector<absl::Status> AgreeAll(const std::vector<Facts>& facts,
                                   std::chrono::milliseconds timeout = 20s) {
  const auto server = *StoreServer::Start("127.0.0.1", 0, 1, "t");
  std::vector<absl::Status> results(facts.size());
  std::vector<std::thread> ranks;
  for (size_t i = 0; i < facts.size(); ++i) {
    if (facts[i].empty()) continue;
    ranks.emplace_back([&, i] {
      const auto store = *StoreClient::Connect("127.0.0.1", server->port(), 1, "t", 20s);
      results[i] = Agree(*store, static_cast<int>(i), static_cast<int>(facts.size()), "0", facts[i],
                         timeout);
    });
  }
  for (std::thread& rank : ranks) rank.join();
  return results;
}

TEST(Agreement, EqualFacts) {
  const Facts facts = {{"binary", "aa"}, {"data\t", "b\nb"}};
  for (const absl::Status& result : AgreeAll({facts, facts, facts})) EXPECT_TRUE(result.ok());
  EXPECT_TRUE(AgreeAll({facts})[0].ok());
}

TEST(Agreement, ADifferenceNamesTheFactAndTheRanksOnEveryRank) {
  const Facts facts = {{"binary", "aa"}, {"data", "bb"}};
  const Facts other = {{"binary", "aa"}, {"data", "cc"}};
  for (const absl::Status& result : AgreeAll({facts, other, facts, facts})) {
    EXPECT_THAT(std::string(result.message()),
                AllOf(HasSubstr("data: ranks 0, 2, 3 have bb, rank 1 has cc"),
                      Not(HasSubstr("binary")), HasSubstr("HINT")));
  }
}

TEST(Agreement, AMissingFactIsADifference) {
  const auto results = AgreeAll({{{"binary", "aa"}, {"plan", "p"}}, {{"binary", "aa"}}});
  EXPECT_THAT(std::string(results[0].message()),
              HasSubstr("plan: rank 0 has p, rank 1 has nothing"));
}

TEST(Agreement, AnAbsentRankIsNamed) {
  const auto results = AgreeAll({{{"a", "1"}}, {}, {{"a", "1"}}}, 200ms);
  EXPECT_THAT(std::string(results[0].message()), HasSubstr("rank 1 did not arrive"));
  EXPECT_FALSE(results[2].ok());
}

}  // namespace
}  // namespace lockstep::dist
