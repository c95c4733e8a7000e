// How the heads of q, k and v lie in one merged tensor.
#pragma once

#include <cstdint>

#include "tensor/view.h"

namespace lockstep::autograd {

// qkv[T, (H + 2K)·D], contiguous: H query heads, then K key heads, then K value heads.
struct QkvLayout {
  int64_t heads;     // H
  int64_t kv_heads;  // K, divides H
  int64_t head_dim;  // D

  int64_t width() const { return (heads + 2 * kv_heads) * head_dim; }

  // Views [T, count, D] of such a tensor: `count` heads from head `first` on.
  View Heads(const View& qkv, int64_t first, int64_t count) const {
    View view = qkv.Slice(1, first * head_dim, (first + count) * head_dim);
    view.rank = 3;
    view.shape[1] = count;
    view.shape[2] = head_dim;
    view.stride[1] = head_dim;
    view.stride[2] = 1;
    return view;
  }
  View Q(const View& qkv) const { return Heads(qkv, 0, heads); }
  View K(const View& qkv) const { return Heads(qkv, heads, kv_heads); }
  View V(const View& qkv) const { return Heads(qkv, heads + kv_heads, kv_heads); }
  View QK(const View& qkv) const { return Heads(qkv, 0, heads + kv_heads); }
};

}  // namespace lockstep::autograd
