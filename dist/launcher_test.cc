// Ranks that another launcher started, with real processes: no parent of ours, rank 0 serves the
// store and watches. The launchers' variables are set by this test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "dist/exit_code.h"
#include "dist/fault_test_program.h"
#include "dist/launch_env.h"
#include "dist/socket.h"

namespace lockstep::dist {
namespace {

using ::testing::HasSubstr;

// What torchrun says to rank `rank` of `size`, all on this host.
Environment VariablesOf(int rank, int size, int port) {
  return {{"RANK", absl::StrCat(rank)},       {"LOCAL_RANK", absl::StrCat(rank)},
          {"WORLD_SIZE", absl::StrCat(size)}, {"LOCAL_WORLD_SIZE", absl::StrCat(size)},
          {"MASTER_ADDR", "127.0.0.1"},       {"MASTER_PORT", absl::StrCat(port)},
          {"TORCHELASTIC_RUN_ID", "test"}};
}

class LauncherTest : public FaultTest {
 protected:
  std::vector<std::unique_ptr<Program>> Launch(int size, const std::string& fault, int rank,
                                               const Environment& more = {}) {
    // A free port, as a launcher would find one.
    const int port = LocalPort(*Listen("127.0.0.1", 0));
    std::vector<std::unique_ptr<Program>> programs;
    for (int i = size - 1; i >= 0; --i) {
      Environment variables = VariablesOf(i, size, port);
      for (const auto& [name, value] : more) variables[name] = value;
      Arguments arguments = Run(size, fault, rank);
      arguments.erase("nproc");
      for (const auto& [key, value] : more_) arguments[key] = value;
      programs.insert(programs.begin(), std::make_unique<Program>(arguments, variables));
    }
    return programs;
  }

  Arguments more_;  // "stall" and "join", in seconds; "steps"
};

TEST_F(LauncherTest, TheSameSumsAsUnderAParent) {
  Program program(Run(3, "none", -1));
  ASSERT_EQ(program.Wait(), kExitDone);
  const std::string want = File("result");
  for (const auto& rank : Launch(3, "none", -1))
    EXPECT_EQ(rank->Wait(), kExitDone) << rank->Output();
  EXPECT_EQ(File("result"), want);
}

TEST_F(LauncherTest, MasterPortMayBeTaken) {
  const Fd agent = *Listen("127.0.0.1", 0);  // as torchrun's agent does
  const Environment variables = {{"MASTER_PORT", absl::StrCat(LocalPort(agent))}};
  for (const auto& rank : Launch(2, "none", -1, variables)) {
    EXPECT_EQ(rank->Wait(), kExitDone) << rank->Output();
  }
}

TEST_F(LauncherTest, SurvivorsOfALostRankSayWhoItWas) {
  for (const int lost : {0, 2}) {
    const auto ranks = Launch(3, "kill", lost);
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(ranks[i]->Wait(), i == lost ? -SIGKILL : kExitRankLost) << ranks[i]->Output();
      if (i == lost) continue;
      EXPECT_THAT(ranks[i]->Output(), HasSubstr(absl::StrCat("rank ", lost)));
    }
  }
}

TEST_F(LauncherTest, RankZeroWatchesForStalls) {
  more_["stall"] = "4";
  const auto ranks = Launch(3, "stop", 2);
  EXPECT_EQ(ranks[0]->Wait(), kExitRankLost);
  EXPECT_THAT(ranks[0]->Output(), HasSubstr("did not arrive: rank 2"));
  EXPECT_EQ(ranks[1]->Wait(), kExitRankLost);
  EXPECT_THAT(ranks[1]->Output(), HasSubstr("did not arrive: rank 2"));
}

TEST_F(LauncherTest, TwoProcessesThatAreBothRankZeroAreTold) {
  more_["join"] = "5";
  const auto ranks = Launch(2, "none", -1, {{"RANK", "0"}, {"LOCAL_RANK", "0"}});
  std::string output;
  for (const auto& rank : ranks) {
    EXPECT_EQ(rank->Wait(), kExitUserError) << rank->Output();
    absl::StrAppend(&output, rank->Output());
  }
  EXPECT_THAT(output, HasSubstr("take themselves for rank 0"));
}

TEST_F(LauncherTest, AMissingRankIsNamed) {
  more_["join"] = "5";
  const auto ranks = Launch(2, "before_join", 1);
  EXPECT_EQ(ranks[1]->Wait(), kExitUserError);
  EXPECT_EQ(ranks[0]->Wait(), kExitUserError);
  EXPECT_THAT(ranks[0]->Output(), HasSubstr("missing: rank 1"));
}

TEST_F(LauncherTest, DifferentDataIsAUserErrorOfEveryRank) {
  for (const auto& rank : Launch(3, "differ", 2)) {
    EXPECT_EQ(rank->Wait(), kExitUserError) << rank->Output();
    EXPECT_THAT(rank->Output(), HasSubstr("data: ranks 0, 1 have same, rank 2 has other"));
  }
}

TEST_F(LauncherTest, SigtermStopsAllRanksAfterTheSameStep) {
  more_["steps"] = "1000000";
  const auto ranks = Launch(3, "none", -1, {});
  WaitForFile("ready-2");
  kill(ranks[1]->pid(), SIGTERM);  // one is enough
  for (const auto& rank : ranks) EXPECT_EQ(rank->Wait(), kExitTerminate) << rank->Output();
}

TEST_F(LauncherTest, NodesThatCountDifferentRanksAreTold) {
  const int port = LocalPort(*Listen("127.0.0.1", 0));
  const auto start = [&](int rank, int size) {
    Arguments arguments = Run(size, "none", -1);
    arguments.erase("nproc");
    arguments["join"] = "30";
    return Program(arguments, VariablesOf(rank, size, port));
  };
  Program first = start(0, 2), second = start(1, 3);
  EXPECT_EQ(second.Wait(), kExitUserError) << second.Output();
  EXPECT_EQ(first.Wait(), kExitUserError) << first.Output();
  EXPECT_THAT(first.Output(), HasSubstr("rank 0 says 2, rank 1 says 3"));
}

}  // namespace
}  // namespace lockstep::dist
