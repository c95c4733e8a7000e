// Key heads copied to each of several query heads that share them, and those copies' gradients
// summed, for attention's backward. For attention_cudnn.cc alone.
#pragma once

#include <cstdint>

#include "tensor/view.h"

namespace lockstep::kernels::cuda {

struct RowRange {
  int64_t begin, end;
};

// k and v, or dk and dv: [T, heads, dim] in bf16, of one stride; rows and heads start at multiples
// of 16 bytes.
struct KeyPair {
  View k, v;
};

// For rows of the range: to[r, h] = from[r, h / copies], where `to` has `copies` heads for each.
void CopyHeads(const Stream& stream, const RowRange& rows, const KeyPair& from, const KeyPair& to);

// Whether these are among a key head's copies. All are, where there are several key heads.
struct GroupPart {
  bool first, last;
};

// For rows of the range: sums[r] (+)= Σ of gradients[r, h] over the copies h of a key head, in f32
// and in their order; where the last copy is there, the rounded sum is written to `out`. So it does
// not matter how many copies come at a time.
// sums: [T, 2·dim], unused where first and last are there.
void AddHeads(const Stream& stream, const RowRange& rows, const KeyPair& gradients,
              const GroupPart& part, float* sums, const KeyPair& out);

}  // namespace lockstep::kernels::cuda
