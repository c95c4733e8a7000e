#include "dist/nccl_test_scenarios.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "dist/gradient_reducer.h"
#include "dist/peer_check.h"
#include "dist/trap_kernel.h"
#include "tensor/half.h"

namespace lockstep::dist {
namespace {

using namespace std::chrono_literals;  // NOLINT

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

  // In place.
  CopyToDevice(r.stream(), terms.data(), ViewOf(all));
  const View mine = ViewOf(all).Slice(0, 5 * r.rank(), 5 * r.rank() + 5);
  c.ReduceScatter(ViewOf(all), mine, r.stream());
  c.Wait(c.AllGather(mine, ViewOf(all), r.stream()), r.stream());
  const std::vector<int64_t> together = r.ToHost<int64_t>(all);
  for (int j = 0; j < 5 * n; ++j) {
    EXPECT_EQ(together[j], 100 * n * (n - 1) / 2 + n * (j + 1));
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

}  // namespace

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

}  // namespace lockstep::dist
