// Causal attention over packed documents, grouped query heads, flash style: O(T) memory.
//
// Document d owns query rows [starts_q[d], starts_q[d+1]) and key rows [starts_k[d],
// starts_k[d+1]); nothing crosses documents. Both ends of a document coincide: of Lq queries and Lk
// ≥ Lq keys, query i stands at position p = i + Lk − Lq and sees the keys j with
//
//   j ≤ p   and, with a sliding window,   p − j < window        (transformers' sliding_window)
//
//   s[i, j]  = cap(scale · <q[i, h], k[j, h / (H/K)]>),   cap(z) = softcap · tanh(z / softcap)
//   lse[i]   = log Σ_j exp(s[i, j])
//   out[i]   = Σ_j exp(s[i, j] − lse[i]) · v[j, h / (H/K)]
//
//   q         [Tq, H, D]  any strides with contiguous heads; so k, v, out and the gradients: slices
//   k, v      [Tk, K, D]  of merged q, k, v or of a cache. f64 or f32, on CUDA f32 or bf16.
//   out       [Tq, H, D]  written; query rows of no document (a tail behind the last): zero
//   lse       [Tq, H], contiguous, f32 (f64 for f64); no data: not wanted
//   workspace AttentionWorkspace(…).forward bytes of u8, contents undefined; for 0 bytes no data
//
// Backward, with p[i, j] = exp(s[i, j] − lse[i]) and delta[i] = <dout[i], out[i]>:
//   dv[j] = Σ_i p[i, j]·dout[i],   ds[i, j] = p[i, j]·(<dout[i], v[j]> − delta[i])·cap′,
//   dq[i] = scale · Σ_j ds[i, j]·k[j],   dk[j] = scale · Σ_i ds[i, j]·q[i]
//
//   dq, dk, dv   as q, k, v (slices of one merged gradient); written, rows of no document: zero.
//                They do not overlap q, k, v.
//   workspace    AttentionWorkspace(…).backward bytes, likewise
// Bits depend on the document alone: not on its neighbors, its place in the pack or the threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "tensor/view.h"

namespace lockstep::kernels {

// Who computes it on a GPU.
enum class AttentionKernels {
  kFastest,  // a library, where it can
  kOwn,      // our own kernels: a library makes a plan for each size
  kPlain     // those of our own that compute f32 as well
};

struct AttentionOptions {
  double scale = 1.0;
  double softcap = 0.0;  // 0: none
  int64_t window = 0;    // 0: none
  bool compact = false;  // backward in a smaller workspace: a little slower, the same bits
  // Backward: scores' gradients that may exist at once where that is more than usual, so that a
  // long document's query heads go through in fewer launches: faster, the same bits.
  int64_t score_bytes = 0;
  AttentionKernels kernels = AttentionKernels::kFastest;
};

// Where documents lie, for the host (plans, workspaces) and for the device: the same numbers.
struct PackedDocuments {
  int64_t size = 0;                   // documents; some may be empty
  const int32_t* starts_q = nullptr;  // [size + 1], host memory, ascending
  const int32_t* starts_k = nullptr;  // [size + 1], host memory, ascending
  View cu_seqlens_q;                  // [size + 1] i32, device
  View cu_seqlens_k;                  // [size + 1] i32, device
};

// What sizes depend on beside the documents.
struct AttentionShape {
  int64_t tokens_q, heads, kv_heads, head_dim;
  DType dtype;
};

inline AttentionShape ShapeOf(const View& q, const View& k) {
  return {q.shape[0], q.shape[1], k.shape[1], q.shape[2], q.dtype};
}

struct WorkspaceBytes {
  int64_t forward = 0;
  int64_t backward = 0;
};

void Attention(const Stream& stream, const View& q, const View& k, const View& v,
               const PackedDocuments& documents, const AttentionOptions& options, const View& out,
               const View& lse, const View& workspace);
void AttentionBackward(const Stream& stream, const View& dout, const View& q, const View& k,
                       const View& v, const View& out, const View& lse,
                       const PackedDocuments& documents, const AttentionOptions& options,
                       const View& dq, const View& dk, const View& dv, const View& workspace);

// Bytes of workspace on `device`; for kMeta, enough on any device of this build.
WorkspaceBytes AttentionWorkspace(Device device, const AttentionShape& shape,
                                  const PackedDocuments& documents,
                                  const AttentionOptions& options);

// A pack whose attention is to be made ready.
struct AttentionProblem {
  AttentionShape shape;
  std::vector<int32_t> starts;  // of documents; as PackedDocuments::starts_q
  AttentionOptions options;
  bool backward = true;  // false: forward alone
};
// Makes the plans that passes over these packs would otherwise make at their first use, some
// milliseconds to a second each: on a GPU those of cuDNN, in at most `num_threads` threads, until
// `stop` is set. For each problem: whether it needs a plan that none before it does. From any
// thread, also beside those that compute.
std::vector<bool> PrepareAttention(Device device, absl::Span<const AttentionProblem> problems,
                                   int num_threads, const std::atomic<bool>& stop);
// Plans that this process has made, at whatever time.
int64_t NumAttentionPlans();

// Why `device` has no fast kernel for attention of this kind, whatever the documents, and plain
// ones take it, several times slower; "" if it has, as the CPU does for everything.
absl::string_view WhyAttentionIsSlow(Device device, const AttentionShape& shape,
                                     const AttentionOptions& options);

namespace cpu {
decltype(kernels::Attention) Attention;
decltype(kernels::AttentionBackward) AttentionBackward;
WorkspaceBytes AttentionWorkspace(const AttentionShape& shape, const PackedDocuments& documents,
                                  const AttentionOptions& options);
}  // namespace cpu
namespace cuda {
decltype(kernels::Attention) Attention;
decltype(kernels::AttentionBackward) AttentionBackward;
// `ask`: what the libraries on this machine's GPU say; otherwise what they are known to want.
WorkspaceBytes AttentionWorkspace(const AttentionShape& shape, const PackedDocuments& documents,
                                  const AttentionOptions& options, bool ask);
decltype(kernels::PrepareAttention) PrepareAttention;
decltype(kernels::NumAttentionPlans) NumAttentionPlans;
absl::string_view WhyAttentionIsSlow(const AttentionShape& shape, const AttentionOptions& options);
}  // namespace cuda

}  // namespace lockstep::kernels
