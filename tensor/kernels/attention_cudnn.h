// Packed attention through cuDNN's fused kernels, as attention.h defines it: bf16, causal, grouped
// heads, sliding windows; its deterministic backward.
//
// A pack becomes several calls (attention_calls.h). cuDNN's plans are built by Prepare, or on
// first use, and kept.
#pragma once

#include "tensor/kernels/attention.h"

namespace lockstep::kernels::cuda::cudnn {

// Whether cuDNN has all of this for the current GPU: its deterministic backward of documents of
// different lengths is for compute capability 9 and 10 alone, for 10 from version 9.18.1 on.
bool IsForThisGpu();

// Why cuDNN does not compute problems of this kind on any GPU, "" if it does.
absl::string_view Refusal(const AttentionShape& shape, const AttentionOptions& options);

// Whether cuDNN computes this problem, on such a GPU.
bool Takes(const AttentionShape& shape, const PackedDocuments& documents,
           const AttentionOptions& options);

void Attention(const Stream& stream, const View& q, const View& k, const View& v,
               const PackedDocuments& documents, const AttentionOptions& options, const View& out,
               const View& lse, const View& workspace);
void AttentionBackward(const Stream& stream, const View& dout, const View& q, const View& k,
                       const View& v, const View& out, const View& lse,
                       const PackedDocuments& documents, const AttentionOptions& options,
                       const View& dq, const View& dk, const View& dv, const View& workspace);
// As PrepareAttention in attention.h, on such a GPU; of problems that cuDNN does not take: false.
std::vector<bool> Prepare(Device device, absl::Span<const AttentionProblem> problems,
                          int num_threads, const std::atomic<bool>& stop);
// `ask`: as cuDNN says, which builds the plans of both directions.
WorkspaceBytes Workspace(const AttentionShape& shape, const PackedDocuments& documents,
                         const AttentionOptions& options, bool ask);

}  // namespace lockstep::kernels::cuda::cudnn
