// How a pack's attention is cut into calls of a fused kernel whose workspace grows with (documents
// of a call) × (longest of them)².
//
// Documents of very different length must not share a call: one of 4096 rows among 32 of 128 would
// want 34 GiB. So a call is a run of neighboring documents of one length class; packs list
// documents longest first, which makes runs few. The number of documents and the longest are
// rounded up to few values, by documents of no rows, so that few different calls exist. Pure
// functions of the lengths.
//
// A call's backward is launched for some query heads at a time: those of one or more key heads.
// Where a document is so long that those of one key head want too much, it is ungrouped: every
// query head has k and v to itself, and the gradients of k and v are added up. Heads then go one at
// a time or more, as memory allows. That rounds otherwise than a group, so whether it is done
// depends on the document's own length alone, never on its neighbors; how many go at a time decides
// no bits.
#pragma once

#include <cstdint>
#include <vector>

namespace lockstep::kernels {

struct AttentionHeads {
  int64_t heads, kv_heads;
  // Of a backward launch: count · longest² · 2 for each of its query heads. Documents share a call
  // only up to this.
  int64_t limit_bytes;
  // A document of which the query heads of one key head would want more is ungrouped. That decides
  // bits, the limits do not.
  int64_t group_limit_bytes;
  int64_t more_bytes = 0;  // the limit instead, if it is more, for the query heads of a launch
  int64_t group() const { return heads / kv_heads; }
};

// Documents [first, last), as `count` ≥ last − first documents of at most `longest` rows.
struct AttentionCall {
  int64_t first, last;
  int64_t count, longest;
  // Query heads of a backward launch: a multiple of the group that divides all heads; where they
  // are ungrouped also a divisor of the group.
  int64_t heads;
  bool ungrouped;
};

// Classes of length: up to 512 rows, then one for each power of two. Documents of no rows belong to
// any class. Launches stay under the limits, but for a document that exceeds it alone: with the
// query heads of one key head, or with one query head where they are ungrouped.
std::vector<AttentionCall> PlanAttentionCalls(const int32_t* starts, int64_t documents,
                                              const AttentionHeads& heads);

}  // namespace lockstep::kernels
