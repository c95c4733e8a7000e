#include "dist/gloo_communicator.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "dist/gradient_reducer.h"
#include "dist/socket.h"
#include "tensor/half.h"

namespace lockstep::dist {
namespace {

using namespace std::chrono_literals;  // NOLINT

const Stream kStream;

// As JoinWorld has it, for the whole process.
const auto kWithoutSigpipe = signal(SIGPIPE, SIG_IGN);

template <typename T>
View ViewOf(std::vector<T>& data) {
  return MakeView(data.data(), DTypeOf<T>::value, Device(), {static_cast<int64_t>(data.size())});
}

// Runs `body` on `size` ranks, threads of this process.
void RunRanks(int size, const std::function<void(Communicator&)>& body) {
  const auto server = *StoreServer::Start("127.0.0.1", 0, 1, "t");
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < size; ++rank) {
    ranks.emplace_back([&, rank] {
      const auto store = *StoreClient::Connect("127.0.0.1", server->port(), 1, "t", 20s);
      auto communicator = MakeGlooCommunicator(rank, size, *store, GlooOptions());
      ASSERT_TRUE(communicator.ok()) << communicator.status();
      body(**communicator);
      (*communicator)->Wait((*communicator)->Barrier(kStream), kStream);
    });
  }
  for (std::thread& rank : ranks) rank.join();
}

class GlooCommunicatorTest : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, GlooCommunicatorTest, ::testing::Values(2, 3, 4));

TEST_P(GlooCommunicatorTest, AllReduceSumsIntegersExactlyAndWraps) {
  RunRanks(GetParam(), [](Communicator& c) {
    for (const int64_t n : {1, 7, 1000, 300000}) {
      std::vector<int64_t> data(n);
      for (int64_t i = 0; i < n; ++i) data[i] = (i << 40) + c.rank() - (int64_t{1} << 62);
      c.Wait(c.AllReduce(ViewOf(data), ReduceOp::kSum, kStream), kStream);
      const uint64_t size = static_cast<uint64_t>(c.size());
      for (int64_t i = 0; i < n; ++i) {
        const uint64_t want =
            size * (static_cast<uint64_t>(i << 40) - (uint64_t{1} << 62)) + size * (size - 1) / 2;
        ASSERT_EQ(static_cast<uint64_t>(data[i]), want);
      }
    }
  });
}

TEST_P(GlooCommunicatorTest, AllReduceOtherTypesAndMax) {
  RunRanks(GetParam(), [](Communicator& c) {
    const int n = c.size();
    std::vector<float> f(10, static_cast<float>(c.rank() + 1));
    std::vector<double> d(10, -0.5 * c.rank());
    std::vector<int32_t> i(10, c.rank() == 1 ? 99 : -99);
    std::vector<uint16_t> h(10, FloatToBf16(static_cast<float>(256 * c.rank() + 1)));
    const View halves = MakeView(h.data(), DType::kBF16, kStream.device, {10});
    c.AllReduce(halves, ReduceOp::kSum, kStream);
    const auto sum = c.AllReduce(ViewOf(f), ReduceOp::kSum, kStream);
    const auto max = c.AllReduce(ViewOf(d), ReduceOp::kMax, kStream);
    c.Wait(c.AllReduce(ViewOf(i), ReduceOp::kMax, kStream), kStream);
    c.Wait(max, kStream);
    c.Wait(sum, kStream);
    EXPECT_EQ(f[9], static_cast<float>(n * (n + 1) / 2));
    EXPECT_EQ(d[9], 0.0);
    EXPECT_EQ(i[9], 99);
    // 257 is no bf16, so every rank but the first adds a multiple of 256.
    EXPECT_EQ(Bf16ToFloat(h[9]), static_cast<float>(n == 1 ? 1 : 128 * n * (n - 1)));
    EXPECT_EQ(AllReduceValue(c, int64_t{c.rank()}, ReduceOp::kMax, "rank"), n - 1);
    EXPECT_EQ(AllReduceValue(c, 0.25, ReduceOp::kSum, "loss"), 0.25 * n);
  });
}

TEST_P(GlooCommunicatorTest, BroadcastGatherScatter) {
  RunRanks(GetParam(), [](Communicator& c) {
    const int n = c.size();
    std::vector<uint8_t> bytes(100, static_cast<uint8_t>(c.rank()));
    c.Wait(c.Broadcast(ViewOf(bytes), n - 1, kStream), kStream);
    EXPECT_EQ(bytes[50], n - 1);

    std::vector<int32_t> part = {c.rank(), -c.rank()}, whole(2 * n);
    c.Wait(c.AllGather(ViewOf(part), ViewOf(whole), kStream), kStream);
    for (int r = 0; r < n; ++r) {
      EXPECT_EQ(whole[2 * r], r);
      EXPECT_EQ(whole[2 * r + 1], -r);
    }

    std::vector<int64_t> terms(5 * n), own(5);
    for (int j = 0; j < 5 * n; ++j) terms[j] = 100 * c.rank() + j;
    c.Wait(c.ReduceScatter(ViewOf(terms), ViewOf(own), kStream), kStream);
    for (int j = 0; j < 5; ++j) {
      EXPECT_EQ(own[j], 100 * n * (n - 1) / 2 + n * (5 * c.rank() + j));
    }

    // In place.
    for (int j = 0; j < 5 * n; ++j) terms[j] = 100 * c.rank() + j;
    const View all = ViewOf(terms), mine = all.Slice(0, 5 * c.rank(), 5 * c.rank() + 5);
    c.ReduceScatter(all, mine, kStream);
    c.Wait(c.AllGather(mine, all, kStream), kStream);
    for (int j = 0; j < 5 * n; ++j) EXPECT_EQ(terms[j], 100 * n * (n - 1) / 2 + n * j);
  });
}

TEST_P(GlooCommunicatorTest, CollectivesRunInTheOrderOfTheCalls) {
  RunRanks(GetParam(), [](Communicator& c) {
    std::vector<int64_t> data(1000, 1);
    Communicator::Work last;
    for (int i = 0; i < 10; ++i) last = c.AllReduce(ViewOf(data), ReduceOp::kSum, kStream);
    EXPECT_EQ(last.sequence, 10);
    c.Wait(last, kStream);
    int64_t want = 1;
    for (int i = 0; i < 10; ++i) want *= c.size();
    EXPECT_EQ(data[999], want);
    EXPECT_EQ(c.position().completed, 10);
    EXPECT_EQ(c.position().current, "");
  });
}

TEST_P(GlooCommunicatorTest, TheReducersSumDoesNotDependOnBucketsOrOrder) {
  std::vector<ParameterRange> parameters;
  for (int i = 0; i < 20; ++i) parameters.push_back({absl::StrCat("p", i), 100 * i, 90 + i % 10});
  for (const int64_t cap_bytes : {800, 5000, 1 << 20}) {
    const BucketPlan plan = PlanBuckets(parameters, {cap_bytes, 8, kNumStepSlots});
    RunRanks(GetParam(), [&plan](Communicator& c) {
      std::vector<int64_t> gradients(plan.numel);
      GradientReducer reducer(plan, c, ViewOf(gradients), kStream);
      std::mt19937 random(c.rank());  // every rank marks in an order of its own
      std::vector<int> order(plan.members.size());
      std::iota(order.begin(), order.end(), 0);
      for (int step = 0; step < 3; ++step) {
        for (int64_t i = 0; i < plan.numel; ++i) gradients[i] = i * (c.rank() + 1) + step;
        std::shuffle(order.begin(), order.end(), random);
        for (const int i : order) reducer.MarkReady(i);
        reducer.Finish();
        const int64_t n = c.size();
        for (int64_t i = 0; i < plan.numel; ++i) {
          ASSERT_EQ(gradients[i], i * n * (n + 1) / 2 + n * step);
        }
      }
    });
  }
}

TEST_P(GlooCommunicatorTest, RanksCanShareTheSums) {
  const std::vector<ParameterRange> parameters = {{"p", 0, 700}, {"q", 704, 400}};
  const int ranks = GetParam();
  const BucketPlan plan = PlanBuckets(parameters, {3200, 8, kNumStepSlots, ranks, 16});
  ASSERT_GT(plan.buckets.size(), 2u);
  RunRanks(ranks, [&plan](Communicator& c) {
    std::vector<int64_t> gradients(plan.numel);
    GradientReducer reducer(plan, c, ViewOf(gradients), kStream);
    const int64_t n = c.size();
    for (int step = 0; step < 3; ++step) {
      for (int64_t i = 0; i < plan.numel; ++i) gradients[i] = i * (c.rank() + 1) + step;
      for (const int i : {1, 2, 0}) reducer.MarkReady(i);
      reducer.Finish();
      for (const BucketPlan::Bucket& bucket : plan.buckets) {
        for (int64_t i = bucket.begin_of(c.rank()); i < bucket.end_of(c.rank()); ++i) {
          ASSERT_EQ(gradients[i], i * n * (n + 1) / 2 + n * step);
        }
      }
    }
  });
}

// Connects to every address that a rank announces for the first attempt, before its peers can.
class StrangersInTheWay final : public StoreClient {
 public:
  StrangersInTheWay(std::unique_ptr<StoreClient> store, std::string garbage)
      : store_(std::move(store)), garbage_(std::move(garbage)) {}

  absl::Status Set(absl::string_view key, absl::string_view value) override {
    if (absl::StartsWith(key, "gloo/0/address/")) {
      // A sockaddr_in of the loopback interface: family, port, 127.0.0.1.
      for (size_t i = 0; i + 8 <= value.size(); ++i) {
        if (value.substr(i, 2) != absl::string_view("\x02\0", 2)) continue;
        if (value.substr(i + 4, 4) != absl::string_view("\x7f\0\0\x01", 4)) continue;
        const int port =
            static_cast<uint8_t>(value[i + 2]) * 256 + static_cast<uint8_t>(value[i + 3]);
        absl::StatusOr<Fd> stranger = ConnectTo("127.0.0.1", port, 1s);
        if (!stranger.ok()) continue;
        ++count_;
        (void)WriteFull(*stranger, garbage_.data(), garbage_.size(), 1s);
        strangers_.push_back(*std::move(stranger));
      }
    }
    return store_->Set(key, value);
  }
  absl::StatusOr<std::optional<std::string>> Get(absl::string_view key) override {
    return store_->Get(key);
  }
  absl::StatusOr<std::string> Wait(absl::string_view key, Milliseconds timeout) override {
    return store_->Wait(key, timeout);
  }
  absl::StatusOr<int64_t> Add(absl::string_view key, int64_t amount) override {
    return store_->Add(key, amount);
  }
  absl::StatusOr<std::map<std::string, std::string>> List(absl::string_view prefix) override {
    return store_->List(prefix);
  }
  const std::string& local_address() const override { return store_->local_address(); }
  int port() const override { return store_->port(); }
  int count() const { return count_; }

 private:
  const std::unique_ptr<StoreClient> store_;
  const std::string garbage_;
  std::vector<Fd> strangers_;
  int count_ = 0;
};

TEST(GlooCommunicator, StrangersOnItsPortsMakeItStartAgain) {
  for (const std::string& garbage :
       {std::string(), std::string(500, 'x'), std::string(500, '\0')}) {
    const auto server = *StoreServer::Start("127.0.0.1", 0, 1, "t");
    std::atomic<int> strangers{0};
    std::vector<std::thread> ranks;
    for (int rank = 0; rank < 3; ++rank) {
      ranks.emplace_back([&, rank] {
        StrangersInTheWay store(*StoreClient::Connect("127.0.0.1", server->port(), 1, "t", 20s),
                                rank == 1 ? garbage : "");
        GlooOptions options;
        options.timeout = 1s;
        const auto c = MakeGlooCommunicator(rank, 3, store, options);
        strangers += store.count();
        ASSERT_TRUE(c.ok()) << c.status();
        EXPECT_EQ(AllReduceValue(**c, int64_t{rank}, ReduceOp::kSum, "ranks"), 3);
        (*c)->Wait((*c)->Barrier(kStream), kStream);
      });
    }
    for (std::thread& rank : ranks) rank.join();
    EXPECT_GT(strangers, 0);
  }
}

TEST(GlooCommunicator, ALostPeerReachesTheFailureHandlerAndWaitEndsWithAbort) {
  const auto server = *StoreServer::Start("127.0.0.1", 0, 1, "t");
  std::string failed;
  std::mutex mutex;
  std::condition_variable changed;
  std::thread peer([&] {
    const auto store = *StoreClient::Connect("127.0.0.1", server->port(), 1, "t", 20s);
    const auto c = *MakeGlooCommunicator(1, 2, *store, GlooOptions());
    std::vector<float> data(10);
    c->Wait(c->AllReduce(ViewOf(data), ReduceOp::kSum, kStream), kStream);
  });  // and it is gone
  const auto store = *StoreClient::Connect("127.0.0.1", server->port(), 1, "t", 20s);
  GlooOptions options;
  options.on_failure = [&](const absl::Status& error, const std::string& what) {
    EXPECT_FALSE(error.ok());
    const std::lock_guard<std::mutex> lock(mutex);
    failed = what;
    changed.notify_all();
  };
  const auto c = *MakeGlooCommunicator(0, 2, *store, options);
  std::vector<float> data(10);
  c->Wait(c->AllReduce(ViewOf(data), ReduceOp::kSum, kStream), kStream);
  peer.join();
  const auto work = c->AllReduce(ViewOf(data), ReduceOp::kSum, kStream, "bucket 7");
  {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return !failed.empty(); });
  }
  EXPECT_EQ(failed, "all_reduce bucket 7");
  EXPECT_EQ(c->position().current, "all_reduce bucket 7");
  c->Abort();
  c->Wait(work, kStream);
}

TEST(GlooCommunicator, AbortEndsACollectiveThatWaitsForever) {
  const auto server = *StoreServer::Start("127.0.0.1", 0, 1, "t");
  std::thread peer;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  peer = std::thread([&] {  // joins, and calls nothing
    const auto store = *StoreClient::Connect("127.0.0.1", server->port(), 1, "t", 20s);
    const auto c = *MakeGlooCommunicator(1, 2, *store, GlooOptions());
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return done; });
  });
  {
    const auto store = *StoreClient::Connect("127.0.0.1", server->port(), 1, "t", 20s);
    GlooOptions options;
    options.on_failure = [](const absl::Status&, const std::string&) { ADD_FAILURE(); };
    const auto c = *MakeGlooCommunicator(0, 2, *store, options);
    std::vector<float> data(10);
    const auto work = c->AllReduce(ViewOf(data), ReduceOp::kSum, kStream);
    std::thread aborter([&] {
      std::this_thread::sleep_for(100ms);
      c->Abort();
    });
    c->Wait(work, kStream);
    aborter.join();
  }  // the destructor waits for the communicator's thread, which must have ended
  {
    const std::lock_guard<std::mutex> lock(mutex);
    done = true;
  }
  changed.notify_all();
  peer.join();
}

}  // namespace
}  // namespace lockstep::dist
