// How FillDevice (runtime.h) cuts a range for the threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <mutex>

#include "absl/status/status.h"
#include "base/thread_pool.h"
#include "tensor/runtime.h"

namespace lockstep {

// 512 KiB: enough to read at full speed, little enough to keep 16 threads busy with a few MiB.
inline constexpr size_t kPieceBytes = size_t{512} << 10;

// Calls `fill` for [begin, end), piece by piece on all threads; byte `begin` goes to `out`.
inline absl::Status FillInPieces(size_t begin, size_t end, FillFn fill, char* out) {
  absl::Status first_error;
  std::mutex mutex;
  const int64_t pieces = static_cast<int64_t>((end - begin + kPieceBytes - 1) / kPieceBytes);
  ParallelFor(pieces, [&](int64_t piece) {
    const size_t from = begin + piece * kPieceBytes;
    const absl::Status status = fill(from, std::min(from + kPieceBytes, end), out + (from - begin));
    if (status.ok()) return;
    std::lock_guard<std::mutex> lock(mutex);
    first_error.Update(status);
  });
  return first_error;
}

}  // namespace lockstep
