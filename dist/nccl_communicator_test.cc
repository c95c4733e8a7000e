// Ranks are processes: this binary, started again with "--rank", one a GPU. Skips where there are
// fewer than two GPUs. NCCL takes no two ranks on one GPU.
#include "dist/nccl_communicator.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "dist/gradient_reducer.h"
#include "dist/peer_test.h"
#include "dist/trap_kernel.h"
#include "tensor/half.h"
#include "tensor/runtime.h"
#include "tensor/tensor.h"

namespace lockstep::dist {
namespace {

using namespace std::chrono_literals;  // NOLINT

// What a rank of a scenario has.
struct Rank {
  const Context& context;
  StoreClient& store;
  Communicator& communicator;
  std::atomic<int>& failures;  // calls of the failure handler

  const Stream& stream() const { return context.stream; }
  int rank() const { return communicator.rank(); }
  int size() const { return communicator.size(); }

  template <typename T>
  Tensor OnDevice(const std::vector<T>& values) const {
    const Tensor tensor =
        Tensor::Empty(*context.allocator, DTypeOf<T>::value, {static_cast<int64_t>(values.size())});
    CopyToDevice(context.stream, values.data(), tensor.Mutable("test"));
    return tensor;
  }
  template <typename T>
  std::vector<T> ToHost(const Tensor& tensor) const {
    std::vector<T> values(static_cast<size_t>(tensor.numel()));
    CopyToHost(context.stream, tensor.view(), values.data());
    return values;
  }
};

View ViewOf(const Tensor& tensor) { return tensor.Mutable("test"); }

void SumsIntegersExactly(const Rank& r) {
  for (const int64_t n : {1, 7, 1000, 300001}) {
    std::vector<int64_t> terms(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) terms[i] = (i << 40) + r.rank() + 1 - (int64_t{1} << 62);
    const Tensor data = r.OnDevice(terms);
    r.communicator.Wait(r.communicator.AllReduce(ViewOf(data), ReduceOp::kSum, r.stream()),
                        r.stream());
    const std::vector<int64_t> sums = r.ToHost<int64_t>(data);
    const uint64_t size = static_cast<uint64_t>(r.size());
    for (int64_t i = 0; i < n; ++i) {  // wraps
      const uint64_t want =
          size * (static_cast<uint64_t>(i << 40) - (uint64_t{1} << 62)) + size * (size + 1) / 2;
      ASSERT_EQ(static_cast<uint64_t>(sums[i]), want) << i;
    }
  }
}

void OtherTypesAndMax(const Rank& r) {
  const int n = r.size();
  const Tensor f = r.OnDevice(std::vector<float>(10, static_cast<float>(r.rank() + 1)));
  const Tensor d = r.OnDevice(std::vector<double>(10, 0.25 * (r.rank() + 1)));
  const Tensor i = r.OnDevice(std::vector<int32_t>(10, r.rank() == 1 ? 99 : -99));
  const Tensor l = r.OnDevice(std::vector<int64_t>(10, -(int64_t{r.rank() + 1} << 50)));
  const Tensor m = r.OnDevice(std::vector<float>(10, r.rank() == n - 1 ? 2.5f : -7.0f));
  const Tensor h = Tensor::Empty(*r.context.allocator, DType::kBF16, {10});
  const std::vector<uint16_t> halves(10, FloatToBf16(static_cast<float>(r.rank() + 1)));
  CopyToDevice(r.stream(), halves.data(), ViewOf(h));
  Communicator& c = r.communicator;
  c.AllReduce(ViewOf(h), ReduceOp::kSum, r.stream());
  c.AllReduce(ViewOf(f), ReduceOp::kSum, r.stream());
  c.AllReduce(ViewOf(d), ReduceOp::kSum, r.stream());
  c.AllReduce(ViewOf(i), ReduceOp::kSum, r.stream());
  c.AllReduce(ViewOf(l), ReduceOp::kMax, r.stream());
  c.Wait(c.AllReduce(ViewOf(m), ReduceOp::kMax, r.stream()), r.stream());
  EXPECT_EQ(r.ToHost<float>(f)[9], static_cast<float>(n * (n + 1) / 2));
  EXPECT_EQ(r.ToHost<double>(d)[9], 0.125 * n * (n + 1));
  EXPECT_EQ(r.ToHost<int32_t>(i)[9], 99 - 99 * (n - 1));
  EXPECT_EQ(r.ToHost<int64_t>(l)[9], -(int64_t{1} << 50));
  EXPECT_EQ(r.ToHost<float>(m)[9], 2.5f);
  EXPECT_EQ(Bf16ToFloat(r.ToHost<uint16_t>(h)[9]), static_cast<float>(n * (n + 1) / 2));
}

void BroadcastGatherScatter(const Rank& r) {
  const int n = r.size();
  Communicator& c = r.communicator;
  const Tensor bytes = r.OnDevice(std::vector<uint8_t>(101, static_cast<uint8_t>(r.rank() + 5)));
  c.Wait(c.Broadcast(ViewOf(bytes), n - 1, r.stream()), r.stream());
  EXPECT_EQ(r.ToHost<uint8_t>(bytes)[100], n + 4);

  const Tensor part = r.OnDevice(std::vector<int32_t>{r.rank() + 1, -r.rank()});
  const Tensor whole = r.OnDevice(std::vector<int32_t>(2 * n, 77));
  c.Wait(c.AllGather(ViewOf(part), ViewOf(whole), r.stream()), r.stream());
  const std::vector<int32_t> gathered = r.ToHost<int32_t>(whole);
  for (int k = 0; k < n; ++k) {
    EXPECT_EQ(gathered[2 * k], k + 1);
    EXPECT_EQ(gathered[2 * k + 1], -k);
  }

  std::vector<int64_t> terms(5 * n);
  for (int j = 0; j < 5 * n; ++j) terms[j] = 100 * r.rank() + j + 1;
  const Tensor all = r.OnDevice(terms);
  const Tensor own = r.OnDevice(std::vector<int64_t>(5));
  c.Wait(c.ReduceScatter(ViewOf(all), ViewOf(own), r.stream()), r.stream());
  const std::vector<int64_t> scattered = r.ToHost<int64_t>(own);
  for (int j = 0; j < 5; ++j) {
    EXPECT_EQ(scattered[j], 100 * n * (n - 1) / 2 + n * (5 * r.rank() + j + 1));
  }
}

void HostValuesKeepTheOrder(const Rank& r) {
  const int n = r.size();
  Communicator& c = r.communicator;
  const Tensor data = r.OnDevice(std::vector<int64_t>(1 << 20, r.rank() + 1));
  const auto sum = c.AllReduce(ViewOf(data), ReduceOp::kSum, r.stream());
  EXPECT_EQ(AllReduceValue(c, int64_t{r.rank() + 1}, ReduceOp::kMax, "rank"), n);
  EXPECT_EQ(AllReduceValue(c, 0.25, ReduceOp::kSum, "loss"), 0.25 * n);
  EXPECT_GE(c.position().completed, sum.sequence) << "host values come after what was called";
  std::vector<int32_t> part = {r.rank() + 3}, whole(n);
  const Device host;
  c.AllGather(MakeView(part.data(), DType::kI32, host, {1}),
              MakeView(whole.data(), DType::kI32, host, {n}), Stream());
  for (int k = 0; k < n; ++k) EXPECT_EQ(whole[k], k + 3);
  c.Wait(c.Barrier(Stream(), "on the host"), Stream());
  c.Wait(sum, r.stream());
  EXPECT_EQ(r.ToHost<int64_t>(data)[1 << 19], n * (n + 1) / 2);
}

// Ten sums of one buffer: each needs the one before. Nothing but events stands between the
// buffer's copies on the computing stream and the sums on the other one.
void CollectivesRunInOrderAndByEvents(const Rank& r) {
  Communicator& c = r.communicator;
  const int64_t before = c.position().submitted;
  const Tensor data = r.OnDevice(std::vector<int64_t>(1 << 22, 1));
  const std::vector<int64_t> twos(1 << 22, 2);
  CopyToDevice(r.stream(), twos.data(), ViewOf(data));
  Communicator::Work last;
  for (int i = 0; i < 10; ++i) last = c.AllReduce(ViewOf(data), ReduceOp::kSum, r.stream());
  EXPECT_EQ(last.sequence, before + 10);
  c.Wait(last, r.stream());
  const std::vector<int64_t> sums = r.ToHost<int64_t>(data);
  int64_t want = 2;
  for (int i = 0; i < 10; ++i) want *= r.size();
  EXPECT_EQ(*std::min_element(sums.begin(), sums.end()), want);
  EXPECT_EQ(*std::max_element(sums.begin(), sums.end()), want);
  c.Wait(last, Stream());  // on the host, long since done
  for (int i = 0; i < 1000 && c.position().completed < last.sequence; ++i) {
    std::this_thread::sleep_for(5ms);
  }
  EXPECT_EQ(c.position().completed, last.sequence);
  EXPECT_EQ(c.position().current, "");
}

void TheReducersSumDoesNotDependOnBuckets(const Rank& r) {
  std::vector<ParameterRange> parameters;
  for (int i = 0; i < 20; ++i) parameters.push_back({absl::StrCat("p", i), 100 * i, 90 + i % 10});
  for (const int64_t cap_bytes : {800, 5000, 1 << 20}) {
    const BucketPlan plan = PlanBuckets(parameters, {cap_bytes, 8, kNumStepSlots});
    std::vector<int64_t> terms(static_cast<size_t>(plan.numel));
    const Tensor gradients = r.OnDevice(terms);
    GradientReducer reducer(plan, r.communicator, ViewOf(gradients), r.stream());
    std::mt19937 random(static_cast<unsigned>(r.rank()));  // every rank marks in its own order
    std::vector<int> order(plan.members.size());
    std::iota(order.begin(), order.end(), 0);
    for (int step = 0; step < 3; ++step) {
      for (int64_t i = 0; i < plan.numel; ++i) terms[i] = (i + 1) * (r.rank() + 1) + step;
      CopyToDevice(r.stream(), terms.data(), ViewOf(gradients));
      std::shuffle(order.begin(), order.end(), random);
      for (const int i : order) reducer.MarkReady(i);
      reducer.Finish();
      const std::vector<int64_t> sums = r.ToHost<int64_t>(gradients);
      const int64_t n = r.size();
      for (int64_t i = 0; i < plan.numel; ++i) {
        ASSERT_EQ(sums[i], (i + 1) * n * (n + 1) / 2 + n * step);
      }
    }
  }
}

void PeersReadEachOther(const Rank& r) {
  const auto report =
      TestPeers(r.rank(), r.size(), r.store, "again", r.context.stream.device, 100ms, 20s);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->usable) << report->line;
  EXPECT_EQ(report->num_pairs, r.size() - 1);
  std::printf("rank %d: %d copies between GPUs checked in %.1f ms%s%s\n", r.rank(),
              report->num_pairs, report->ms, report->line.empty() ? "" : ": ",
              report->line.c_str());
  EXPECT_EQ(std::getenv("NCCL_P2P_DISABLE"), nullptr);
}

// This communicator was told that no copy takes any time.
void StuckPeersAreNotUsed(const Rank& r) {
  ASSERT_NE(std::getenv("NCCL_P2P_DISABLE"), nullptr);
  SumsIntegersExactly(r);
  EXPECT_EQ(r.failures, 0);
}

// The last rank's device is lost: it fails there within moments, whatever the others wait for.
void ALostGpuReachesTheFailureHandler(const Rank& r) {
  Communicator& c = r.communicator;
  const Tensor data = r.OnDevice(std::vector<int64_t>(1000, r.rank() + 1));
  c.Wait(c.AllReduce(ViewOf(data), ReduceOp::kSum, r.stream()), r.stream());
  Synchronize(r.stream());
  PrepareToLoseDevice();
  if (r.rank() == r.size() - 1) {
    c.AllReduce(ViewOf(data), ReduceOp::kSum, r.stream(), "bucket 7");  // the others do not call it
    LoseDevice(r.stream());
    for (int i = 0; i < 500 && r.failures == 0; ++i) std::this_thread::sleep_for(10ms);
    EXPECT_EQ(r.failures, 1);
    (void)r.store.Set("the GPU is lost", "1");
    std::fflush(stdout);
    _exit(::testing::UnitTest::GetInstance()->Failed() ? 1 : 0);  // nothing of CUDA works any more
  }
  EXPECT_TRUE(r.store.Wait("the GPU is lost", 60s).ok());
  c.Abort();
  EXPECT_EQ(r.failures, 0);
}

void EndsWhenAPeerIsKilled(const Rank& r) {
  Communicator& c = r.communicator;
  const Tensor data = r.OnDevice(std::vector<int64_t>(1000, r.rank() + 1));
  c.Wait(c.AllReduce(ViewOf(data), ReduceOp::kSum, r.stream()), r.stream());
  Synchronize(r.stream());
  if (r.rank() == r.size() - 1) raise(SIGKILL);

  const auto start = std::chrono::steady_clock::now();
  const auto work = c.AllReduce(ViewOf(data), ReduceOp::kSum, r.stream(), "bucket 7");
  c.Wait(work, r.stream());
  std::this_thread::sleep_for(3s);  // as long as a supervisor may take
  std::printf("rank %d: NCCL itself %s the dead peer within 3 s\n", r.rank(),
              r.failures > 0 ? "reported" : "did not report");
  EXPECT_LE(r.failures, 1);
  EXPECT_LT(c.position().completed, work.sequence);
  EXPECT_EQ(c.position().current, "all_reduce bucket 7");
  c.Abort();
  c.Wait(work, Stream());
  Synchronize(r.stream());  // the device is free again
  EXPECT_LT(c.position().completed, work.sequence) << "half a sum is no result";
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10s);
}

void AbortEndsAHostThatWaits(const Rank& r) {
  Communicator& c = r.communicator;
  if (r.rank() == 0) {
    std::thread aborter([&] {
      std::this_thread::sleep_for(300ms);
      c.Abort();
    });
    AllReduceValue(c, int64_t{1}, ReduceOp::kSum, "that nobody else calls");
    aborter.join();
    EXPECT_EQ(r.failures, 0);
    (void)r.store.Set("rank 0 is done", "1");
  } else {
    EXPECT_TRUE(r.store.Wait("rank 0 is done", 60s).ok());
  }
}

using Scenario = void (*)(const Rank&);
const std::map<std::string, Scenario>& Scenarios() {
  static const auto& scenarios = *new std::map<std::string, Scenario>{
      {"SumsIntegersExactly", &SumsIntegersExactly},
      {"OtherTypesAndMax", &OtherTypesAndMax},
      {"BroadcastGatherScatter", &BroadcastGatherScatter},
      {"HostValuesKeepTheOrder", &HostValuesKeepTheOrder},
      {"CollectivesRunInOrderAndByEvents", &CollectivesRunInOrderAndByEvents},
      {"TheReducersSumDoesNotDependOnBuckets", &TheReducersSumDoesNotDependOnBuckets},
      {"PeersReadEachOther", &PeersReadEachOther},
      {"StuckPeersAreNotUsed", &StuckPeersAreNotUsed},
      {"ALostGpuReachesTheFailureHandler", &ALostGpuReachesTheFailureHandler},
      {"EndsWhenAPeerIsKilled", &EndsWhenAPeerIsKilled},
      {"AbortEndsAHostThatWaits", &AbortEndsAHostThatWaits},
  };
  return scenarios;
}

// A rank's process runs several scenarios, one behind the other.
int RunRank(int rank, int size, int port, const std::vector<std::string>& scenarios) {
  const auto runtime = *Runtime::Open({DeviceType::kCUDA, static_cast<int8_t>(rank)});
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
    if (CudaDeviceCount() < GetParam()) {
      GTEST_SKIP() << "needs " << GetParam() << " GPUs, got " << CudaDeviceCount();
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Gpus, NcclCommunicatorTest, ::testing::Values(2, 3, 4, 8));

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
