#include "dist/verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

namespace lockstep::dist {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr Ending kUserError = {false, kExitUserError}, kFatal = {false, kExitFatal},
                 kSurvivor = {false, kExitRankLost}, kKilled = {true, SIGKILL},
                 kAborted = {true, SIGABRT}, kDone = {false, kExitDone};

std::map<int, Beat> Beats(int ranks) {
  std::map<int, Beat> beats;
  for (int rank = 0; rank < ranks; ++rank) {
    beats[rank].rank = rank;
    beats[rank].host = "here";
    beats[rank].device = "cpu";
    beats[rank].progress = {"backward", 12};
  }
  return beats;
}

TEST(VerdictTest, WhoDiedByItselfIsTheCauseThoughASurvivorEndedFirst) {
  const Verdict verdict =
      Judge({{0, 10, kSurvivor, {"lost rank 1"}}, {1, 11, kKilled, {"all", "well"}}}, Beats(3), 3);
  EXPECT_EQ(verdict.exit_code, kExitRankLost);
  EXPECT_THAT(
      verdict.report,
      AllOf(StartsWith("[rank 1] was killed by signal 9"), HasSubstr("step 12, backward"),
            HasSubstr("(host here, pid 11, cpu)"), HasSubstr("\n  | all\n  | well"),
            HasSubstr("\n  rank 2 was at "), HasSubstr("\nHINT: "), Not(HasSubstr("lost rank 1"))));
  // Nobody did: the first is as good as any.
  EXPECT_THAT(Judge({{2, 12, kSurvivor, {}}, {0, 10, kSurvivor, {}}}, Beats(3), 3).report,
              StartsWith("[rank 2] exited with 3"));
}

TEST(VerdictTest, ACrashMayComeOfALimitOfMemory) {
  const std::vector<FailedRank> crashed = {{1, 11, kAborted, {}}};
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  if (before.rlim_cur == RLIM_INFINITY) {
    EXPECT_THAT(Judge(crashed, Beats(3), 3).report, Not(HasSubstr("HINT")));
  }
  const rlimit limit = {rlim_t{1} << 50, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
  EXPECT_THAT(Judge(crashed, Beats(3), 3).report,
              HasSubstr("may use 1073741824 MiB here (ulimit -v"));
  ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
}

TEST(VerdictTest, AnErrorOfTheUsersIsSaidOnce) {
  const FailedRank first = {1, 11, kUserError, {"error: [a.jsonl:7] broken", "HINT: mend it"}};
  const Verdict verdict = Judge({first, {2, 12, kSurvivor, {}}}, Beats(3), 3);
  EXPECT_EQ(verdict.exit_code, kExitUserError);
  EXPECT_EQ(verdict.report, "[rank 1] error: [a.jsonl:7] broken\nHINT: mend it");
  // Rank 0 has the terminal.
  EXPECT_EQ(Judge({first, {0, 10, kUserError, {}}}, Beats(2), 2).report, "");
  // It does not excuse a rank that was lost before.
  EXPECT_EQ(Judge({{2, 12, kKilled, {}}, first}, Beats(3), 3).exit_code, kExitRankLost);
}

TEST(VerdictTest, FatalIfAllRanksAre) {
  EXPECT_EQ(Judge({{0, 10, kFatal, {}}, {1, 11, kAborted, {}}}, Beats(2), 2).exit_code, kExitFatal);
  EXPECT_EQ(Judge({{0, 10, kFatal, {}}, {1, 11, kAborted, {}}}, Beats(3), 3).exit_code,
            kExitRankLost);
}

TEST(VerdictTest, ARankThatLeavesOrNeverJoinsIsToldSo) {
  EXPECT_THAT(Judge({{1, 11, kDone, {}}}, Beats(2), 2).report,
              HasSubstr(", before the end of the run"));
  EXPECT_THAT(Judge({{1, 11, kKilled, {}}}, {}, 2).report, HasSubstr(" before it had joined"));
}

TEST(VerdictTest, LastWordsAndOthersAreFew) {
  std::vector<std::string> lines;
  for (int i = 0; i < 12; ++i) lines.push_back("line " + std::to_string(i) + ".");
  const std::string report = Judge({{0, 10, kKilled, lines}}, Beats(9), 9).report;
  EXPECT_THAT(report, AllOf(Not(HasSubstr("line 3.")), HasSubstr("line 4."), HasSubstr("line 11."),
                            HasSubstr("rank 4 was"), Not(HasSubstr("rank 5 was"))));
}

TEST(VerdictTest, WhatOthersMayBeAboutToDo) {
  for (const Ending& ending : {kUserError, kFatal, kSurvivor, kAborted}) {
    EXPECT_TRUE(MayBeOfAllRanks(ending)) << Describe(ending);
  }
  for (const Ending& ending : {kKilled, kDone}) {
    EXPECT_FALSE(MayBeOfAllRanks(ending)) << Describe(ending);
  }
}

}  // namespace
}  // namespace lockstep::dist
