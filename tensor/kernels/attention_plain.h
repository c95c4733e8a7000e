// Packed attention as its equations say (attention.h), one query at a time, sums in double: the
// definition that the blocked and the CUDA versions are tested against. Slow; any thread count.
#pragma once

#include "tensor/kernels/attention.h"

namespace lockstep::kernels::plain {

// f64 or f32. `lse` may be without data in Attention.
void Attention(const View& q, const View& k, const View& v, const PackedDocuments& documents,
               const AttentionOptions& options, const View& out, const View& lse);
void AttentionBackward(const View& dout, const View& q, const View& k, const View& v,
                       const View& out, const View& lse, const PackedDocuments& documents,
                       const AttentionOptions& options, const View& dq, const View& dk,
                       const View& dv);

}  // namespace lockstep::kernels::plain
