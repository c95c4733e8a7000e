// How a pack's attention is cut into calls of a fused kernel whose workspace grows with (documents
// of a call) × (longest of them)².
//
// Documents of very different length must not share a call: one of 4096 rows among 32 of 128 would
// want 34 GiB. So a call is a run of neighboring documents of one length class; packs list
// documents longest first, which makes runs few. The number of documents and the longest are
// rounded up to few values, by documents of no rows, so that few different calls exist. Pure
// functions of the lengths.
#pragma once

#include <cstdint>
#include <vector>

namespace lockstep::kernels {

// Documents [first, last), as `count` ≥ last − first documents of at most `longest` rows.
struct AttentionCall {
  int64_t first, last;
  int64_t count, longest;
};

// Classes of length: up to 512 rows, then one for each power of two. Documents of no rows belong to
// any class.
std::vector<AttentionCall> PlanAttentionCalls(const int32_t* starts, int64_t documents);

// The largest number of query heads, a multiple of heads / kv_heads that divides `heads`, for which
// count · longest² · 2 bytes a head stay under `limit_bytes`; heads / kv_heads if none does.
int64_t HeadsPerCall(const AttentionCall& call, int64_t heads, int64_t kv_heads,
                     int64_t limit_bytes);

}  // namespace lockstep::kernels
