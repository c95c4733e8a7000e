#include "base/fuzz/allocation_limit.h"

#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace lockstep::fuzz {

std::atomic<size_t> allocation_limit{SIZE_MAX};

namespace {

void Check(size_t size) {
  if (size <= allocation_limit) return;
  allocation_limit = SIZE_MAX;
  constexpr char kText[] = "an allocation is larger than the input justifies\n";
  (void)!write(STDERR_FILENO, kText, sizeof(kText) - 1);
  abort();
}

}  // namespace
}  // namespace lockstep::fuzz

// Other forms of new and delete come to these.
void* operator new(size_t size) {
  lockstep::fuzz::Check(size);
  void* memory = malloc(size > 0 ? size : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
// Libraries allocate by this too, and under AddressSanitizer it does not come to the one above.
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  lockstep::fuzz::Check(size);
  return malloc(size > 0 ? size : 1);
}
void operator delete(void* memory) noexcept { free(memory); }
void operator delete(void* memory, size_t) noexcept { free(memory); }
