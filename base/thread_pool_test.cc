#include "base/thread_pool.h"

#include <thread>
#include <vector>

#include "base/progress.h"
#include "gtest/gtest.h"

namespace lockstep {
namespace {

TEST(ThreadPoolTest, RunsEachTaskOnceForAnyNumberOfThreads) {
  for (int threads : {1, 2, 3, 8}) {
    SetNumThreads(threads);
    EXPECT_EQ(NumThreads(), threads);
    for (int64_t tasks : {0, 1, 2, 7, 1000}) {
      std::vector<int> count(tasks, 0);
      const int64_t marks = ProgressMarks();
      ParallelFor(tasks, [&](int64_t i) { ++count[i]; });
      EXPECT_EQ(ProgressMarks(), marks + tasks);
      EXPECT_EQ(count, std::vector<int>(tasks, 1)) << threads << " threads, " << tasks << " tasks";
    }
  }
}

TEST(ThreadPoolTest, CutsARangeByItsSizeAlone) {
  SetNumThreads(3);
  std::vector<int64_t> ends(4, -1);
  ParallelForRange(10, 3, [&](int64_t begin, int64_t end) { ends[begin / 3] = end; });
  EXPECT_EQ(ends, (std::vector<int64_t>{3, 6, 9, 10}));
}

TEST(ThreadPoolTest, ALoopInsideATaskRunsInThatTask) {
  SetNumThreads(4);
  std::vector<int64_t> sum(16, 0);
  ParallelFor(16, [&](int64_t i) { ParallelFor(10, [&](int64_t j) { sum[i] += j; }); });
  EXPECT_EQ(sum, std::vector<int64_t>(16, 45));
}

TEST(ThreadPoolTest, LoopsFromSeveralThreadsTakeTurns) {
  SetNumThreads(4);
  std::vector<std::thread> callers;
  std::vector<int64_t> total(3, 0);
  for (int c = 0; c < 3; ++c) {
    callers.emplace_back([&, c] {
      std::vector<int64_t> part(100, 0);
      ParallelFor(100, [&](int64_t i) { part[i] = i; });
      for (int64_t p : part) total[c] += p;
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total, std::vector<int64_t>(3, 4950));
}

}  // namespace
}  // namespace lockstep
