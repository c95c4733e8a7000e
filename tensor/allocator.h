// Memory for tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "tensor/arena.h"
#include "tensor/device.h"

namespace lockstep {

// Addresses are aligned to 256 bytes, so that every tensor starts on a full memory transaction.
inline constexpr size_t kAlignment = 256;

constexpr size_t AlignUp(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Hands out and takes back blocks in the order of one stream: a block that was given back may be
// handed out again at once, because whatever uses it next is queued behind its last use.
// Not thread-safe: one thread drives one stream. Running out of memory is fatal.
class Allocator {
 public:
  explicit Allocator(Device device) : device_(device) {}
  virtual ~Allocator() = default;
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

  void* Allocate(size_t bytes);
  void Deallocate(void* data, size_t bytes);

  Device device() const { return device_; }
  int64_t bytes_in_use() const { return bytes_in_use_; }
  int64_t peak_bytes() const { return peak_bytes_; }
  void ResetPeak() { peak_bytes_ = bytes_in_use_; }

 private:
  virtual void* DoAllocate(size_t aligned_bytes) = 0;
  virtual void DoDeallocate(void* data, size_t aligned_bytes) = 0;

  Device device_;
  int64_t bytes_in_use_ = 0;
  int64_t peak_bytes_ = 0;
};

// Host memory. Blocks given back are kept by size and handed out again, so that a training step
// touches few new pages. Sizes are rounded up by at most an eighth, as packs, and with them
// tensors, differ a little from step to step; what is kept free never exceeds the most that was in
// use. Contents are undefined.
class CpuAllocator final : public Allocator {
 public:
  CpuAllocator() : Allocator(Device{DeviceType::kCPU}) {}
  ~CpuAllocator() override;

  // Gives blocks that nobody uses back to the system.
  void Trim();
  // Bytes of such blocks.
  int64_t bytes_kept() const { return bytes_kept_; }

 private:
  void* DoAllocate(size_t aligned_bytes) override;
  void DoDeallocate(void* data, size_t aligned_bytes) override;
  std::map<size_t, std::vector<void*>> free_blocks_;
  int64_t bytes_kept_ = 0;
};

// Addresses without memory, for the memory plan. They are handed out as from one endless segment
// of a GPU's arena (arena.h), so that the plan knows how large that must be.
class MetaAllocator final : public Allocator {
 public:
  MetaAllocator();

  // The end of the highest block since ResetHighest, counted from the segment's start: bytes of a
  // segment that holds everything, gaps included.
  int64_t highest() const { return highest_; }
  // To the end of the highest block in use.
  void ResetHighest();

 private:
  void* DoAllocate(size_t aligned_bytes) override;
  void DoDeallocate(void* data, size_t aligned_bytes) override;

  Arena arena_;
  std::map<uintptr_t, size_t> blocks_;  // in use
  int64_t highest_ = 0;
};

}  // namespace lockstep
