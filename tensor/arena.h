// Arena: which bytes of large segments are taken. Host arithmetic only: it never touches the
// memory, which may lie on a GPU.
//
// Best fit with coalescing: a request takes the smallest hole that is large enough, a block given
// back joins its free neighbors. The sequence of requests decides every address relative to its
// segment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace lockstep {

class Arena {
 public:
  // [start, start + bytes) may be handed out. Segments never join each other.
  void AddSegment(uintptr_t start, size_t bytes);

  // Nothing if no hole is large enough. `bytes` > 0.
  std::optional<uintptr_t> Take(size_t bytes);
  // A block that Take returned, with the size that was asked for.
  void GiveBack(uintptr_t start, size_t bytes);

  size_t largest_hole() const;

 private:
  void AddHole(uintptr_t start, size_t bytes);
  void RemoveHole(uintptr_t start);

  std::map<uintptr_t, size_t> holes_;  // by address
  std::set<std::pair<size_t, uintptr_t>> holes_by_size_;
  std::set<uintptr_t> segment_starts_;
};

}  // namespace lockstep
