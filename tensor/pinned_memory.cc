#include "tensor/pinned_memory.h"

#include <cuda_runtime_api.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>

#include "base/thread_pool.h"

namespace lockstep::cuda {

std::unique_ptr<PinnedMemory> PinnedMemory::Create(size_t bytes) {
  bytes = std::max<size_t>(bytes, 1);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  char* const data = static_cast<char*>(memory);
  madvise(data, bytes, MADV_HUGEPAGE);  // where there are none, small ones do
  constexpr int64_t kPage = 4096, kGrain = int64_t{2} << 20;
  ParallelForRange(static_cast<int64_t>(bytes), kGrain, [data](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += kPage) data[i] = 0;
  });
  if (cudaHostRegister(data, bytes, cudaHostRegisterDefault) != cudaSuccess) {
    cudaGetLastError();  // it is reported by what is returned
    munmap(data, bytes);
    return nullptr;
  }
  return std::unique_ptr<PinnedMemory>(new PinnedMemory(data, bytes));
}

PinnedMemory::~PinnedMemory() {
  cudaHostUnregister(data_);
  munmap(data_, bytes_);
}

}  // namespace lockstep::cuda
