// The process's CPU threads.
//
// A process is one rank, so there is one pool. Invariant: no result depends on the number of
// threads. Callers keep it by cutting work into tasks as a function of the problem's shape alone; a
// task writes only its own output and is computed by one thread from start to end.
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace lockstep {

// Sets the number of threads that ParallelFor uses, the caller included. At least 1. Default: all
// cores of the process's affinity mask. Not to be called while a ParallelFor runs.
void SetNumThreads(int num_threads);
int NumThreads();

// Calls task(i) once for each i in [0, num_tasks), in any order, on any thread; returns when all
// are done. A ParallelFor inside a task runs its tasks in that same thread. Each task done is a
// mark of progress (progress.h).
void ParallelFor(int64_t num_tasks, absl::FunctionRef<void(int64_t task)> task);

// Calls body(begin, end) over [0, size) cut into chunks of `grain` (the last may be shorter).
void ParallelForRange(int64_t size, int64_t grain,
                      absl::FunctionRef<void(int64_t begin, int64_t end)> body);

}  // namespace lockstep
