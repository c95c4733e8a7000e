#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/num_cores.h"
#include "base/progress.h"

namespace lockstep {
namespace {

thread_local bool inside_a_task = false;

// One parallel loop. Threads take the next index until there is none.
struct Loop {
  int64_t num_tasks;
  absl::FunctionRef<void(int64_t)> task;
  std::atomic<int64_t> next{0};

  void Work() {
    inside_a_task = true;
    for (int64_t i = next.fetch_add(1); i < num_tasks; i = next.fetch_add(1)) {
      task(i);
      MarkProgress();
    }
    inside_a_task = false;
  }
};

// Waiting without sleep, for the gaps between the loops of a step: some 20 µs, less than it takes
// to fall asleep and be woken. Longer would take a core from others.
template <typename Ready>
void SpinUntil(const Ready& ready) {
  constexpr int kPauses = 1000;
  for (int i = 0; i < kPauses && !ready(); ++i) __builtin_ia32_pause();
}

// A loop is handed over by atomics alone while the threads spin; whoever sleeps is woken under the
// mutex. Each handover is a store by one side before it loads what the other side stores before it
// loads (all sequentially consistent), so that at least one of the two sees the other:
//   a thread that enters, busy_ then loop_  |  the loop's end, loop_ = nullptr then busy_
//   a thread that falls asleep, sleepers_ then generation_  |  a new loop, the other way round
//   the last thread to leave, busy_ then caller_sleeps_  |  the caller, the other way round
class Pool {
 public:
  explicit Pool(int num_threads) {
    for (int i = 1; i < num_threads; ++i) threads_.emplace_back([this] { Serve(); });
  }

  ~Pool() {
    stopping_ = true;
    Announce();
    for (std::thread& thread : threads_) thread.join();
  }

  int size() const { return static_cast<int>(threads_.size()) + 1; }

  void Run(Loop& loop) {
    std::lock_guard<std::mutex> one_loop_at_a_time(run_mutex_);
    loop_ = &loop;
    Announce();
    loop.Work();
    loop_ = nullptr;  // a thread that comes only now is not waited for
    const auto all_left = [this] { return busy_ == 0; };
    SpinUntil(all_left);
    if (all_left()) return;
    std::unique_lock<std::mutex> lock(mutex_);
    caller_sleeps_ = true;
    done_.wait(lock, all_left);
    caller_sleeps_ = false;
  }

 private:
  void Announce() {
    ++generation_;
    if (sleepers_ == 0) return;
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }

  void Serve() {
    uint64_t seen = 0;
    const auto called = [&] { return generation_ != seen; };
    while (true) {
      SpinUntil(called);
      if (!called()) {
        std::unique_lock<std::mutex> lock(mutex_);
        ++sleepers_;
        wake_.wait(lock, called);
        --sleepers_;
      }
      if (stopping_) return;
      seen = generation_;
      ++busy_;
      if (Loop* loop = loop_; loop != nullptr) loop->Work();
      if (--busy_ == 0 && caller_sleeps_) {
        std::lock_guard<std::mutex> lock(mutex_);
        done_.notify_one();
      }
    }
  }

  std::mutex run_mutex_;
  std::mutex mutex_;  // of those who sleep
  std::condition_variable wake_, done_;
  std::atomic<Loop*> loop_{nullptr};
  std::atomic<uint64_t> generation_{0};  // of loops
  std::atomic<int> busy_{0};             // threads that are, or may be, inside the loop
  std::atomic<int> sleepers_{0};
  std::atomic<bool> caller_sleeps_{false};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

std::unique_ptr<Pool>& ThePool() {
  static std::unique_ptr<Pool> pool = std::make_unique<Pool>(NumCores());
  return pool;
}

}  // namespace

void SetNumThreads(int num_threads) {
  ThePool() = std::make_unique<Pool>(std::max(1, num_threads));
}

int NumThreads() { return ThePool()->size(); }

void ParallelFor(int64_t num_tasks, absl::FunctionRef<void(int64_t)> task) {
  if (num_tasks <= 1 || inside_a_task || NumThreads() == 1) {
    for (int64_t i = 0; i < num_tasks; ++i) {
      task(i);
      MarkProgress();
    }
    return;
  }
  Loop loop{num_tasks, task};
  ThePool()->Run(loop);
}

void ParallelForRange(int64_t size, int64_t grain, absl::FunctionRef<void(int64_t, int64_t)> body) {
  ParallelFor((size + grain - 1) / grain,
              [&](int64_t chunk) { body(chunk * grain, std::min(size, (chunk + 1) * grain)); });
}

}  // namespace lockstep
