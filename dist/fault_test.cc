// Everything that can happen to ranks under a parent, with real processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "dist/exit_code.h"
#include "dist/fault_test_program.h"
#include "dist/socket.h"

namespace lockstep::dist {
namespace {

using namespace std::chrono_literals;  // NOLINT
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST_F(FaultTest, TheSameSumsOnAnyNumberOfRanksAndAnyBuckets) {
  std::string want;
  for (const int nproc : {1, 2, 3, 4}) {
    for (const char* cap : {"800", "4000", "1000000"}) {
      Arguments arguments = Run(nproc, "none", -1);
      arguments["cap"] = cap;
      Program program(arguments);
      ASSERT_EQ(program.Wait(), kExitDone) << program.Output();
      if (want.empty()) want = File("result");
      EXPECT_THAT(want, StartsWith("done "));
      EXPECT_EQ(File("result"), want) << nproc << " ranks, buckets of " << cap;
    }
  }
  ExpectNoRanks(4);
}

TEST_F(FaultTest, RankZeroSpeaksAndTheOthersHaveLogs) {
  Program program(Run(3, "none", -1));
  ASSERT_EQ(program.Wait(), kExitDone);
  EXPECT_EQ(program.Output(), "rank 0 of 3 trains\n");
  EXPECT_EQ(File("rank-2.log"), "rank 2 of 3 trains\n");
  EXPECT_FALSE(FileExists(JoinPath(out(), "rank-0.log")));
}

TEST_F(FaultTest, AKilledRankEndsTheRunAndIsNamed) {
  for (const int rank : {0, 2}) {
    Program program(Run(3, "kill", rank));
    EXPECT_EQ(program.Wait(), kExitRankLost);
    EXPECT_THAT(program.Output(),
                AllOf(HasSubstr(absl::StrCat("[rank ", rank, "] was killed by signal 9")),
                      HasSubstr("step 5"), HasSubstr("HINT")));
    ExpectNoRanks(3);
  }
}

TEST_F(FaultTest, ASurvivorThatEndsBeforeTheLostRankIsNotBlamed) {
  Program program(Run(2, "survivor_first", -1));
  EXPECT_EQ(program.Wait(), kExitRankLost);
  EXPECT_THAT(program.Output(), AllOf(HasSubstr("[rank 1] was killed by signal 9"),
                                      HasSubstr("rank 0 was at step 5")));
}

TEST_F(FaultTest, ARunOfOneRankIsNoExceptionToAnyOfThis) {
  Program program(Run(1, "kill", 0));
  EXPECT_EQ(program.Wait(), kExitRankLost);
  EXPECT_THAT(program.Output(), HasSubstr("[rank 0] was killed by signal 9"));
}

TEST_F(FaultTest, AStoppedRankIsAStall) {
  Arguments arguments = Run(3, "stop", 1);
  arguments["stall"] = "4";
  Program program(arguments);
  EXPECT_EQ(program.Wait(), kExitRankLost);
  EXPECT_THAT(program.Output(),
              AllOf(HasSubstr("did not arrive: rank 1"), HasSubstr("no heartbeat for"),
                    HasSubstr("waits: rank 0"), HasSubstr("waits: rank 2")));
  ExpectNoRanks(3);
}

TEST_F(FaultTest, AHangingRankIsAStallThatNamesIt) {
  Arguments arguments = Run(3, "hang", 2);
  arguments["stall"] = "4";
  Program program(arguments);
  EXPECT_EQ(program.Wait(), kExitRankLost);
  EXPECT_THAT(program.Output(),
              AllOf(HasSubstr("did not arrive: rank 2"), Not(HasSubstr("did not arrive: rank 0")),
                    HasSubstr("waits in all_reduce bucket 0"), HasSubstr("step 5, backward")));
  ExpectNoRanks(3);
}

TEST_F(FaultTest, ARankThatIsSlowButWorksIsNoStall) {
  Arguments arguments = Run(3, "busy", 2);
  arguments["stall"] = "3";
  Program program(arguments);
  EXPECT_EQ(program.Wait(), kExitDone) << program.Output();
}

TEST_F(FaultTest, AUserErrorOfAllRanksIsSaidOnce) {
  Program program(Run(3, "user_error", -1));
  EXPECT_EQ(program.Wait(), kExitUserError);
  EXPECT_EQ(Count(program.Output(), "want a good input"), 1u) << program.Output();
  EXPECT_THAT(program.Output(), Not(HasSubstr("[rank "))) << "rank 0 says it by itself";
  EXPECT_LE(Count(program.Output(), "\n"), 15u);
}

TEST_F(FaultTest, AUserErrorOfOneRankIsSaidForIt) {
  Program program(Run(3, "user_error", 2));
  EXPECT_EQ(program.Wait(), kExitUserError);
  EXPECT_EQ(Count(program.Output(), "want a good input"), 1u) << program.Output();
  EXPECT_THAT(program.Output(), HasSubstr("[rank 2]"));
  ExpectNoRanks(3);
}

TEST_F(FaultTest, AUserErrorBeforeJoining) {
  Program program(Run(2, "before_join", 1));
  EXPECT_EQ(program.Wait(), kExitUserError);
  EXPECT_EQ(Count(program.Output(), "wrong before joining"), 1u) << program.Output();
  ExpectNoRanks(2);
}

TEST_F(FaultTest, AFailedCheckInEveryRankIsABugInOneRankALoss) {
  Program all(Run(3, "fatal", -1));
  EXPECT_EQ(all.Wait(), kExitFatal) << all.Output();
  Program one(Run(3, "fatal", 1));
  EXPECT_EQ(one.Wait(), kExitRankLost);
  EXPECT_THAT(one.Output(), HasSubstr("[rank 1] exited with 2"));
  Program crash(Run(3, "crash", 1));
  EXPECT_EQ(crash.Wait(), kExitRankLost);
  EXPECT_THAT(crash.Output(), HasSubstr("[rank 1] was killed by signal 6"));
  ExpectNoRanks(3);
}

TEST_F(FaultTest, ARankWithoutMemoryIsLostAndSaysWhy) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's own memory ends at the limit first";
#endif
  Program program(Run(3, "out_of_memory", 1));
  EXPECT_EQ(program.Wait(), kExitRankLost);
  EXPECT_THAT(program.Output(), AllOf(HasSubstr("[rank 1] was killed by signal 6"),
                                      HasSubstr("std::bad_alloc"), HasSubstr("step 5")));
  ExpectNoRanks(3);
}

TEST_F(FaultTest, ARankThatLeavesEarlyIsLostWhateverItsCode) {
  Program program(Run(3, "leave_early", 1));
  EXPECT_EQ(program.Wait(), kExitRankLost);
  EXPECT_THAT(program.Output(), HasSubstr("[rank 1] exited with 0 at step"));
}

TEST_F(FaultTest, DifferentDataOnOneRankIsNamedBeforeStepOne) {
  Program program(Run(3, "differ", 1));
  EXPECT_EQ(program.Wait(), kExitUserError);
  EXPECT_EQ(Count(program.Output(), "data: ranks 0, 2 have same, rank 1 has other"), 1u)
      << program.Output();
  EXPECT_FALSE(FileExists(JoinPath(out(), "ready-0")));
}

TEST_F(FaultTest, OneSignalStopsAllRanksAfterTheSameStep) {
  for (const int signal : {SIGINT, SIGTERM}) {
    RemoveFile("ready-1");
    Arguments arguments = Run(3, "none", -1);
    arguments["steps"] = "1000000";
    Program program(arguments);
    WaitForFile("ready-1");
    kill(program.pid(), signal);
    EXPECT_EQ(program.Wait(), 128 + signal) << program.Output();
    EXPECT_THAT(File("result"), StartsWith("stopped "));
    ExpectNoRanks(3);
  }
}

TEST_F(FaultTest, RanksIgnoreTheTerminalsSignals) {
  Arguments arguments = Run(2, "none", -1);
  arguments["steps"] = "200";
  Program program(arguments);
  WaitForFile("ready-1");
  int pid = 0;
  ASSERT_TRUE(absl::SimpleAtoi(File("pid-1"), &pid));
  kill(pid, SIGINT);
  kill(pid, SIGTERM);
  EXPECT_EQ(program.Wait(), kExitDone) << program.Output();
}

TEST_F(FaultTest, TheSecondSignalKills) {
  Arguments arguments = Run(2, "stubborn", -1);
  arguments["steps"] = "1000000";
  Program program(arguments);
  WaitForFile("ready-1");
  kill(program.pid(), SIGINT);
  std::this_thread::sleep_for(300ms);
  kill(program.pid(), SIGINT);
  EXPECT_EQ(program.Wait(), kExitInterrupt);
  ExpectNoRanks(2);
}

TEST_F(FaultTest, TheEndOfATerminalIsOneSignalHoweverOftenItComes) {
  signal(SIGHUP, SIG_DFL);  // or what runs the tests may have it ignored, as nohup does
  Arguments arguments = Run(2, "stubborn", -1);
  arguments["steps"] = "1000000";
  Program program(arguments);
  WaitForFile("ready-1");
  kill(program.pid(), SIGHUP);
  WaitForOutput(program, "asks the ranks to stop");
  kill(program.pid(), SIGHUP);
  std::this_thread::sleep_for(300ms);
  kill(program.pid(), SIGINT);  // this one kills
  EXPECT_EQ(program.Wait(), kExitInterrupt) << program.Output();
  ExpectNoRanks(2);
}

TEST_F(FaultTest, RanksThatHaveNotJoinedAreNotAskedButKilled) {
  Program program(Run(2, "never_joins", -1));
  WaitForFile("pid-1");
  kill(program.pid(), SIGTERM);
  EXPECT_EQ(program.Wait(), kExitTerminate) << program.Output();
  ExpectNoRanks(2);
}

TEST_F(FaultTest, AParentThatWaitsForNodeZeroSaysSoAndCanBeStopped) {
  Arguments arguments = Run(1, "none", -1);
  arguments["nnodes"] = "2";
  arguments["node_rank"] = "1";
  arguments["master_addr"] = "0.0.0.0";  // nobody listens there
  for (const int signal : {SIGINT, SIGTERM}) {
    Program program(arguments);
    WaitForOutput(program, "waits for node 0 at 0.0.0.0");
    kill(program.pid(), signal);
    EXPECT_EQ(program.Wait(), 128 + signal) << program.Output();
  }
}

TEST_F(FaultTest, AParentThatWasStoppedDoesNotTakeItsOwnAbsenceForAStall) {
  Arguments arguments = Run(2, "none", -1);
  arguments["steps"] = "1000000";
  arguments["stall"] = "4";
  Program program(arguments);
  WaitForFile("ready-1");
  kill(program.pid(), SIGSTOP);
  std::this_thread::sleep_for(6s);
  kill(program.pid(), SIGCONT);
  std::this_thread::sleep_for(1s);
  kill(program.pid(), SIGTERM);
  EXPECT_EQ(program.Wait(), kExitTerminate) << program.Output();
}

TEST_F(FaultTest, RanksDieWithTheirParent) {
  Arguments arguments = Run(3, "none", -1);
  arguments["steps"] = "1000000";
  Program program(arguments);
  WaitForFile("ready-2");
  int stopped = 0;
  ASSERT_TRUE(absl::SimpleAtoi(File("pid-1"), &stopped));
  kill(stopped, SIGSTOP);  // one that cannot end by itself
  kill(program.pid(), SIGKILL);
  EXPECT_EQ(program.Wait(), -SIGKILL);
  ExpectNoRanks(3);
}

TEST_F(FaultTest, StrangersDuringARunChangeNothing) {
  Arguments arguments = Run(2, "none", -1);
  arguments["steps"] = "100";
  Program alone(arguments);
  ASSERT_EQ(alone.Wait(), kExitDone);
  const std::string want = File("result");
  RemoveFile("result");
  RemoveFile("store_port");

  Program program(arguments);
  WaitForFile("store_port");
  int port = 0;
  ASSERT_TRUE(absl::SimpleAtoi(File("store_port"), &port));
  std::mt19937 random(5);
  std::vector<Fd> strangers;
  for (int i = 0; i < 40; ++i) {
    absl::StatusOr<Fd> stranger = ConnectTo("127.0.0.1", port, 1s);
    if (!stranger.ok()) break;  // the run is over
    std::string garbage(random() % 2000, '\0');
    for (char& c : garbage) c = static_cast<char>(random());
    (void)WriteFull(*stranger, garbage.data(), garbage.size(), 1s);
    strangers.push_back(*std::move(stranger));
  }
  EXPECT_EQ(program.Wait(), kExitDone) << program.Output();
  EXPECT_EQ(File("result"), want);
}

TEST_F(FaultTest, ALostRunIsStartedAgain) {
  Arguments arguments = Run(2, "kill_once", 1);
  arguments["restarts"] = "1";
  Program program(arguments);
  EXPECT_EQ(program.Wait(), kExitDone) << program.Output();
  EXPECT_THAT(program.Output(), HasSubstr("starts the ranks again (1 of 1)"));
  EXPECT_THAT(File("result"), StartsWith("done "));
  arguments["fault"] = "kill";
  Program hopeless(arguments);
  EXPECT_EQ(hopeless.Wait(), kExitRankLost);
}

TEST_F(FaultTest, ARunThatWasAskedToStopIsNotStartedAgain) {
  Arguments arguments = Run(2, "stubborn", -1);
  arguments["steps"] = "1000000";
  arguments["restarts"] = "1";
  Program program(arguments);
  WaitForFile("ready-1");
  kill(program.pid(), SIGTERM);
  WaitForOutput(program, "asks the ranks to stop");
  int rank_1 = 0;
  ASSERT_TRUE(absl::SimpleAtoi(File("pid-1"), &rank_1));
  kill(rank_1, SIGKILL);
  EXPECT_EQ(program.Wait(), kExitRankLost);
  EXPECT_THAT(program.Output(), Not(HasSubstr("starts the ranks again")));
}

}  // namespace
}  // namespace lockstep::dist
