// Signs of life: a count of the units of work that this process's threads have done. It grows while
// data is hashed, tokenized, loaded, computed on the CPU or written, however long that takes. The
// heartbeat publishes it (dist/heartbeat.h), so that slow work is not taken for a stall.
#pragma once

#include <cstdint>

namespace lockstep {

// A unit is done, of seconds at most. From any thread; it costs an atomic addition.
void MarkProgress();

int64_t ProgressMarks();

}  // namespace lockstep
