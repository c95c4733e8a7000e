#include "base/progress.h"

#include <atomic>

namespace lockstep {
namespace {

std::atomic<int64_t> marks{0};

}  // namespace

void MarkProgress() { marks.fetch_add(1, std::memory_order_relaxed); }

int64_t ProgressMarks() { return marks.load(std::memory_order_relaxed); }

}  // namespace lockstep
