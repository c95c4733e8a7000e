// Gradients of a key head, summed over the query heads that share it, where attention's backward is
// launched for one query head at a time. For attention_cudnn.cc alone.
#pragma once

#include <cstdint>

#include "tensor/view.h"

namespace lockstep::kernels::cuda {

struct RowRange {
  int64_t begin, end;
};

// dk and dv of one query head: [T, dim], contiguous bf16.
struct HeadGradients {
  const void *dk, *dv;
  int64_t dim;
};

// Those of the key head, in rows `row` elements apart.
struct KeyGradients {
  void *dk, *dv;
  int64_t row;
};

struct GroupPosition {
  bool first, last;  // of the query heads of the group
};

// For rows of the range: sums (+)= dk | dv, in f32; the group's last head writes the rounded sums
// to `out`. sums: [T, 2·dim].
void AddHead(const Stream& stream, const RowRange& rows, const HeadGradients& head,
             const GroupPosition& position, float* sums, const KeyGradients& out);

}  // namespace lockstep::kernels::cuda
