// Host memory that a GPU copies from and to by itself. For runtime_cuda.cc alone.
//
// cudaHostAlloc would hold up every other call to CUDA while the kernel clears the pages, 1 s for
// 2 GiB. Here all threads touch them first, in large pages where there are some, and only then are
// they registered: 0.06 s and 0.06 s.
#pragma once

#include <cstddef>
#include <memory>

namespace lockstep::cuda {

class PinnedMemory {
 public:
  // Zeros, for the current GPU; null if there is no such memory.
  static std::unique_ptr<PinnedMemory> Create(size_t bytes);
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;

  char* data() const { return data_; }

 private:
  PinnedMemory(char* data, size_t bytes) : data_(data), bytes_(bytes) {}

  char* const data_;
  const size_t bytes_;
};

}  // namespace lockstep::cuda
