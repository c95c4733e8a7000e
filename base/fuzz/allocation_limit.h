#ifndef LOCKSTEP_BASE_FUZZ_ALLOCATION_LIMIT_H_
#define LOCKSTEP_BASE_FUZZ_ALLOCATION_LIMIT_H_

#include <atomic>
#include <cstddef>

namespace lockstep::fuzz {

// Bytes: one `new` of more than this aborts the process, in any thread. This library replaces the
// program's operator new.
extern std::atomic<size_t> allocation_limit;

}  // namespace lockstep::fuzz

#endif  // LOCKSTEP_BASE_FUZZ_ALLOCATION_LIMIT_H_
