#include "dist/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::dist {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class WatchdogTest : public ::testing::Test {
 protected:
  WatchdogTest() {
    for (int rank = 0; rank < 3; ++rank) {
      beats_[rank].rank = rank;
      beats_[rank].host = "h";
    }
  }
  // One turn of half a second in which every rank but `silent` sends a beat.
  std::optional<std::string> Turn(int silent = -1) {
    now_ += 0.5;
    for (auto& [rank, beat] : beats_) beat.number += rank == silent ? 0 : 1;
    return watchdog_.Check(beats_, now_);
  }
  void Progress(int rank) { ++beats_[rank].changes; }

  Watchdog watchdog_{3, 10};
  std::map<int, Beat> beats_;
  double now_ = 100;
};

TEST_F(WatchdogTest, OneRankAtWorkIsProgress) {
  for (int i = 0; i < 100; ++i) {
    Progress(1);
    EXPECT_EQ(Turn(), std::nullopt);
  }
}

TEST_F(WatchdogTest, ACompletedCollectiveIsProgress) {
  for (int i = 0; i < 100; ++i) {
    ++beats_[2].position.completed;
    EXPECT_EQ(Turn(), std::nullopt);
  }
}

TEST_F(WatchdogTest, NobodyAtWorkIsAStallOfWhoDidNotArrive) {
  for (const int rank : {0, 2}) {
    beats_[rank].position = {5, 4, "all_reduce bucket 1"};
    beats_[rank].progress = {"backward", 7};
  }
  beats_[1].position = {4, 4, ""};
  beats_[1].progress = {"forward", 7, 2};
  std::optional<std::string> report;
  while (!(report = Turn())) ASSERT_LT(now_, 112);
  EXPECT_GT(now_, 110);
  EXPECT_THAT(*report,
              AllOf(HasSubstr("did not arrive: rank 1"), HasSubstr("step 7, forward, pack 2"),
                    HasSubstr("waits: rank 0"), HasSubstr("waits: rank 2"),
                    HasSubstr("all_reduce bucket 1"), Not(HasSubstr("no heartbeat"))));
}

TEST_F(WatchdogTest, ASilentRankIsAStallEvenWhileOthersWork) {
  std::optional<std::string> report;
  Turn();
  while (!(report = Turn(/*silent=*/2))) {
    Progress(0);
    ASSERT_LT(now_, 112);
  }
  EXPECT_THAT(*report,
              AllOf(HasSubstr("did not arrive: rank 2"), HasSubstr("no heartbeat for 10")));
}

TEST_F(WatchdogTest, AllAtTheSameCollectiveAccusesNobody) {
  for (auto& [rank, beat] : beats_) beat.position = {5, 4, "barrier"};
  std::optional<std::string> report;
  while (!(report = Turn())) ASSERT_LT(now_, 112);
  EXPECT_THAT(*report, AllOf(Not(HasSubstr("did not arrive")), HasSubstr("stands still: rank 0"),
                             HasSubstr("network")));
}

TEST_F(WatchdogTest, RanksThatHaveNotJoinedOrHaveLeftAreNotJudged) {
  beats_.erase(2);
  for (int i = 0; i < 60; ++i) EXPECT_EQ(Turn(), std::nullopt);
  beats_[2].progress.phase = kJoinPhase;
  for (int i = 0; i < 60; ++i) EXPECT_EQ(Turn(), std::nullopt);
  beats_[2] = beats_[1];
  beats_[2].rank = 2;
  Turn();
  for (auto& [rank, beat] : beats_) beat.progress.phase = kLeftPhase;
  for (int i = 0; i < 60; ++i) EXPECT_EQ(Turn(0), std::nullopt);
}

}  // namespace
}  // namespace lockstep::dist
