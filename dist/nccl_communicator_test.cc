// Ranks are processes: this binary, started again with "--rank", one a GPU, or several where they
// may share it (shared_gpus.h). Skips where there can be fewer than two.
#include "dist/nccl_communicator.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "dist/nccl_test_scenarios.h"
#include "dist/testing.h"
#include "tensor/runtime.h"

namespace lockstep::dist {
namespace {

using namespace std::chrono_literals;  // NOLINT

// A rank's process runs several scenarios, one behind the other.
int RunRank(int rank, int size, int port, const std::vector<std::string>& scenarios) {
  const auto runtime =
      *Runtime::Open({DeviceType::kCUDA, static_cast<int8_t>(rank % CudaDeviceCount())});
  const auto store = *StoreClient::Connect("127.0.0.1", port, 1, "t", 20s);
  std::atomic<int> failures{0};
  NcclOptions options;
  options.device = runtime->context().stream.device;
  options.on_failure = [&](const absl::Status& error, const std::string& what) {
    std::printf("rank %d: %s: %s\n", rank, what.c_str(), error.ToString().c_str());
    ++failures;
  };
  if (scenarios[0] == "StuckPeersAreNotUsed") options.peer_limit = 0ms;
  const auto communicator = MakeNcclCommunicator(rank, size, *store, options);
  EXPECT_TRUE(communicator.ok()) << communicator.status();
  if (!communicator.ok()) return 1;
  const Rank self{runtime->context(), *store, **communicator, failures};
  for (const std::string& name : scenarios) {
    SCOPED_TRACE(absl::StrCat(name, ", rank ", rank, " of ", size));
    Scenarios().at(name)(self);
  }
  return ::testing::UnitTest::GetInstance()->Failed() ? 1 : 0;
}

pid_t StartRank(int rank, int size, int port, const std::vector<std::string>& scenarios) {
  std::vector<std::string> argv = {"nccl_communicator_test", "--rank", absl::StrCat(rank),
                                   absl::StrCat(size), absl::StrCat(port)};
  argv.insert(argv.end(), scenarios.begin(), scenarios.end());
  std::vector<char*> pointers;
  for (std::string& text : argv) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  pid_t pid = -1;
  EXPECT_EQ(posix_spawn(&pid, "/proc/self/exe", nullptr, nullptr, pointers.data(), environ), 0);
  return pid;
}

// The exit codes of the ranks, or -signal; whoever takes too long is killed.
std::vector<int> RunRanks(int size, const std::vector<std::string>& scenarios) {
  const auto server = *StoreServer::Start("127.0.0.1", 0, 1, "t");
  std::vector<pid_t> pids;
  for (int r = 0; r < size; ++r) pids.push_back(StartRank(r, size, server->port(), scenarios));
  const auto deadline = std::chrono::steady_clock::now() + 100s;
  std::vector<int> codes;
  for (const pid_t pid : pids) {
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > deadline) kill(pid, SIGKILL);
      std::this_thread::sleep_for(10ms);
    }
    codes.push_back(WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
  }
  return codes;
}

class NcclCommunicatorTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (MostGpuRanks() < GetParam()) {
      GTEST_SKIP() << "needs " << GetParam() << " GPUs, got " << CudaDeviceCount();
    }
  }
};

// Two ranks, and what else this machine has GPUs for.
std::vector<int> Sizes() {
  std::vector<int> sizes = {2};
  for (const int size : {3, 4, 8}) {
    if (size <= MostGpuRanks()) sizes.push_back(size);
  }
  return sizes;
}
INSTANTIATE_TEST_SUITE_P(Gpus, NcclCommunicatorTest, ::testing::ValuesIn(Sizes()));

TEST_P(NcclCommunicatorTest, Collectives) {
  const auto codes =
      RunRanks(GetParam(), {"SumsIntegersExactly", "OtherTypesAndMax", "BroadcastGatherScatter",
                            "HostValuesKeepTheOrder", "CollectivesRunInOrderAndByEvents",
                            "TheReducersSumDoesNotDependOnBuckets", "PeersReadEachOther"});
  EXPECT_EQ(codes, std::vector<int>(GetParam(), 0));
}

TEST_P(NcclCommunicatorTest, StuckPeersAreNotUsed) {
  EXPECT_EQ(RunRanks(GetParam(), {"StuckPeersAreNotUsed"}), std::vector<int>(GetParam(), 0));
}

TEST_P(NcclCommunicatorTest, ALostGpuReachesTheFailureHandler) {
  EXPECT_EQ(RunRanks(GetParam(), {"ALostGpuReachesTheFailureHandler"}),
            std::vector<int>(GetParam(), 0));
}

TEST_P(NcclCommunicatorTest, EndsWhenAPeerIsKilled) {
  std::vector<int> want(GetParam(), 0);
  want.back() = -SIGKILL;
  EXPECT_EQ(RunRanks(GetParam(), {"EndsWhenAPeerIsKilled"}), want);
}

TEST_P(NcclCommunicatorTest, AbortEndsAHostThatWaits) {
  EXPECT_EQ(RunRanks(GetParam(), {"AbortEndsAHostThatWaits"}), std::vector<int>(GetParam(), 0));
}

TEST(NcclCommunicator, AMissingRankIsATimeLimitWithAName) {
  if (CudaDeviceCount() < 1) GTEST_SKIP() << "needs a GPU";
  const auto server = *StoreServer::Start("127.0.0.1", 0, 1, "t");
  const auto store = *StoreClient::Connect("127.0.0.1", server->port(), 1, "t", 20s);
  NcclOptions options;
  options.timeout = 2s;
  const auto communicator = MakeNcclCommunicator(0, 2, *store, options);
  ASSERT_FALSE(communicator.ok());
  const std::string message(communicator.status().message());
  EXPECT_NE(message.find("rank 0, GPU 0: [peer test] no \"peer/1\" after 2 s"), std::string::npos)
      << message;
}

}  // namespace

// With "--rank R SIZE PORT SCENARIO…" this is a rank.
int Main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (argc < 6 || std::string(argv[1]) != "--rank") return RUN_ALL_TESTS();
  int numbers[3] = {};
  for (int i = 0; i < 3; ++i) (void)absl::SimpleAtoi(argv[2 + i], &numbers[i]);
  return RunRank(numbers[0], numbers[1], numbers[2], {argv + 5, argv + argc});
}

}  // namespace lockstep::dist

int main(int argc, char** argv) { return lockstep::dist::Main(argc, argv); }
