// Packed attention by our own kernels on tensor cores, as attention.h defines it: bf16, for GPUs
// from compute capability 8.0 on and kinds of attention that cuDNN does not take. FlashAttention-2
// (Dao, 2023), the backward pass in two passes without atomics. No workspace but delta.
//
// P and dS are rounded to bf16 for the products that follow, as in cuDNN; all sums are fp32.
#pragma once

#include "tensor/kernels/attention.h"

namespace lockstep::kernels::cuda::flash {

// Why these kernels do not compute problems of this kind, "" if they do.
absl::string_view Refusal(const AttentionShape& shape, const AttentionOptions& options);

// Whether rows of all heads start at 16 bytes, as these kernels read them.
bool Aligned(std::initializer_list<const View*> tensors);

void Attention(const Stream& stream, const View& q, const View& k, const View& v,
               const PackedDocuments& documents, const AttentionOptions& options, const View& out,
               const View& lse);
// delta: [Tq, H] f32, overwritten.
void AttentionBackward(const Stream& stream, const View& dout, const View& q, const View& k,
                       const View& v, const View& out, const View& lse,
                       const PackedDocuments& documents, const AttentionOptions& options,
                       const View& dq, const View& dk, const View& dv, float* delta);

}  // namespace lockstep::kernels::cuda::flash
