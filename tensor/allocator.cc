#include "tensor/allocator.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "base/check.h"

namespace lockstep {
namespace {

// Of addresses that stand for no memory.
constexpr size_t kEndless = size_t{1} << 60;

// The next of the sizes 8/8, 9/8, … 15/8 times a power of two.
size_t RoundUpByAnEighth(size_t bytes) {
  if (bytes <= 8 * kAlignment) return std::max(bytes, kAlignment);
  const size_t step = std::bit_floor(bytes) / 8;
  return (bytes + step - 1) / step * step;
}

}  // namespace

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
  const size_t size = RoundUpByAnEighth(aligned_bytes);
  const auto block = free_blocks_.find(size);
  if (block != free_blocks_.end()) {
    bytes_kept_ -= static_cast<int64_t>(size);
    void* data = block->second.back();
    block->second.pop_back();
    if (block->second.empty()) free_blocks_.erase(block);
    return data;
  }
  void* data = std::aligned_alloc(kAlignment, size);
  CHECK(data != nullptr) << "[memory] want " << aligned_bytes << " bytes of host memory; "
                         << bytes_in_use() << " are in use\n"
                         << "HINT: a smaller --tokens_per_pack needs less";
  return data;
}

void CpuAllocator::DoDeallocate(void* data, size_t aligned_bytes) {
  const size_t size = RoundUpByAnEighth(aligned_bytes);
  free_blocks_[size].push_back(data);
  bytes_kept_ += static_cast<int64_t>(size);
  if (bytes_kept_ > peak_bytes()) Trim();
}

void CpuAllocator::Trim() {
  for (auto& [size, blocks] : free_blocks_) {
    for (void* block : blocks) std::free(block);
  }
  free_blocks_.clear();
  bytes_kept_ = 0;
}

CpuAllocator::~CpuAllocator() { Trim(); }

MetaAllocator::MetaAllocator() : Allocator(Device{DeviceType::kMeta}) {
  arena_.AddSegment(kAlignment, kEndless);
}

void* MetaAllocator::DoAllocate(size_t aligned_bytes) {
  const size_t bytes = std::max(aligned_bytes, kAlignment);
  const std::optional<uintptr_t> start = arena_.Take(bytes);
  CHECK(start) << "[memory] " << bytes << " bytes are more than can be addressed";
  blocks_[*start] = bytes;
  highest_ = std::max(highest_, static_cast<int64_t>(*start + bytes - kAlignment));
  return reinterpret_cast<void*>(*start);
}

void MetaAllocator::DoDeallocate(void* data, size_t aligned_bytes) {
  const auto start = reinterpret_cast<uintptr_t>(data);
  blocks_.erase(start);
  arena_.GiveBack(start, std::max(aligned_bytes, kAlignment));
}

void MetaAllocator::ResetHighest() {
  const auto last = blocks_.rbegin();
  highest_ =
      last == blocks_.rend() ? 0 : static_cast<int64_t>(last->first + last->second - kAlignment);
}

}  // namespace lockstep
