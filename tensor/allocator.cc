#include "tensor/allocator.h"

#include <algorithm>
#include <cstdlib>

#include "base/check.h"

namespace lockstep {

void* Allocator::Allocate(size_t bytes) {
  const size_t aligned = AlignUp(bytes);
  bytes_in_use_ += static_cast<int64_t>(aligned);
  peak_bytes_ = std::max(peak_bytes_, bytes_in_use_);
  return DoAllocate(aligned);
}

void Allocator::Deallocate(void* data, size_t bytes) {
  const size_t aligned = AlignUp(bytes);
  bytes_in_use_ -= static_cast<int64_t>(aligned);
  DoDeallocate(data, aligned);
}

void* CpuAllocator::DoAllocate(size_t aligned_bytes) {
  const auto block = free_blocks_.find(aligned_bytes);
  if (block != free_blocks_.end()) {
    void* data = block->second.back();
    block->second.pop_back();
    if (block->second.empty()) free_blocks_.erase(block);
    return data;
  }
  void* data = std::aligned_alloc(kAlignment, std::max(aligned_bytes, kAlignment));
  CHECK(data != nullptr) << "[memory] want " << aligned_bytes << " bytes of host memory; "
                         << bytes_in_use() << " are in use\n"
                         << "HINT: a smaller --tokens_per_pack needs less";
  return data;
}

void CpuAllocator::DoDeallocate(void* data, size_t aligned_bytes) {
  free_blocks_[aligned_bytes].push_back(data);
}

void CpuAllocator::Trim() {
  for (auto& [size, blocks] : free_blocks_) {
    for (void* block : blocks) std::free(block);
  }
  free_blocks_.clear();
}

CpuAllocator::~CpuAllocator() { Trim(); }

void* MetaAllocator::DoAllocate(size_t aligned_bytes) {
  void* data = reinterpret_cast<void*>(next_);
  next_ += std::max(aligned_bytes, kAlignment);
  return data;
}

}  // namespace lockstep
