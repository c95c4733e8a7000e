// Large allocations end a fuzz test: a length that a file claims must not be believed.
#pragma once

#include <atomic>
#include <cstddef>

namespace lockstep::fuzz {

// Bytes: one `new` of more than this aborts the process, in any thread. This library replaces the
// program's operator new.
extern std::atomic<size_t> allocation_limit;

}  // namespace lockstep::fuzz
