#include "tensor/arena.h"

#include <iterator>

#include "base/check.h"

namespace lockstep {

void Arena::AddHole(uintptr_t start, size_t bytes) {
  holes_.emplace(start, bytes);
  holes_by_size_.emplace(bytes, start);
}

void Arena::RemoveHole(uintptr_t start) {
  const auto hole = holes_.find(start);
  holes_by_size_.erase({hole->second, start});
  holes_.erase(hole);
}

void Arena::AddSegment(uintptr_t start, size_t bytes) {
  segment_starts_.insert(start);
  AddHole(start, bytes);
}

std::optional<uintptr_t> Arena::Take(size_t bytes) {
  const auto fit = holes_by_size_.lower_bound({bytes, 0});
  if (fit == holes_by_size_.end()) return std::nullopt;
  const auto [size, start] = *fit;
  RemoveHole(start);
  if (size > bytes) AddHole(start + bytes, size - bytes);
  return start;
}

void Arena::GiveBack(uintptr_t start, size_t bytes) {
  const auto after = holes_.lower_bound(start);
  if (after != holes_.end()) {
    CHECK_LE(start + bytes, after->first) << "[arena] a block was given back twice";
    if (after->first == start + bytes && !segment_starts_.contains(after->first)) {
      const auto [next, size] = *after;
      RemoveHole(next);
      bytes += size;
    }
  }
  const auto behind = holes_.lower_bound(start);
  if (behind != holes_.begin() && !segment_starts_.contains(start)) {
    const auto [previous, size] = *std::prev(behind);
    if (previous + size == start) {
      RemoveHole(previous);
      start = previous;
      bytes += size;
    }
  }
  AddHole(start, bytes);
}

size_t Arena::largest_hole() const {
  return holes_by_size_.empty() ? 0 : holes_by_size_.rbegin()->first;
}

}  // namespace lockstep
