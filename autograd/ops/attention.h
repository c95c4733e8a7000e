// Differentiable packed attention; equations in tensor/kernels/attention.h.
#pragma once

#include <vector>

#include "autograd/ops/qkv_layout.h"
#include "autograd/tape.h"
#include "tensor/kernels/attention.h"

namespace lockstep::autograd {

using kernels::AttentionOptions;

// Where the documents of a pack begin: the same numbers for the host and for the device.
struct Documents {
  std::vector<int32_t> starts;  // [size + 1]; document d owns rows [starts[d], starts[d + 1])
  Tensor cu_seqlens;            // [size + 1] i32 on the device
};

// out[T, H·D] of qkv[T, (H + 2K)·D]; each document attends to itself, causally. Rows behind the
// last document belong to none: zero. Saves qkv, out and the log-sum-exp. `once`: a segment keeps
// the latter two for its second run (Tape::ComputeOnce).
Variable Attention(Tape& tape, const Variable& qkv, const QkvLayout& layout,
                   const Documents& documents, const AttentionOptions& options, bool once = false);

// The same for generation, not differentiable: q[Tq, H·D] are the newest tokens of sequences whose
// keys and values k, v[Tk, K·D] are cached. queries and keys say where each sequence lies in each.
// Writes out[Tq, H·D].
void CachedAttention(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                     const QkvLayout& layout, const Documents& queries, const Documents& keys,
                     AttentionOptions options, const Tensor& out);

}  // namespace lockstep::autograd
