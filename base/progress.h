// Signs of life: a count of the units of work that this process's threads have done. It grows while
// data is hashed, tokenized, loaded, computed on the CPU or written, however long that takes. The
// heartbeat publishes it (dist/heartbeat.h), so that slow work is not taken for a stall.
#pragma once

#include <cstdint>

namespace lockstep {

// A unit is done, of seconds at most. From any thread; it costs an atomic addition.
void MarkProgress();

// While one lives, its thread waits for something that has no parts to mark, as a disk. That counts
// as progress, but not for ever: until `most_seconds` after the newest of them began.
class WaitAsProgress {
 public:
  explicit WaitAsProgress(double most_seconds = 600);
  ~WaitAsProgress();
  WaitAsProgress(const WaitAsProgress&) = delete;
  WaitAsProgress& operator=(const WaitAsProgress&) = delete;
};

// The count; each call adds to it during such a wait.
int64_t ProgressMarks();

}  // namespace lockstep
