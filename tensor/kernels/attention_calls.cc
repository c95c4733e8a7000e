#include "tensor/kernels/attention_calls.h"

#include <algorithm>
#include <bit>

namespace lockstep::kernels {
namespace {

constexpr int64_t kShortest = 512;

int64_t LengthClass(int64_t rows) {
  return rows <= kShortest ? kShortest : static_cast<int64_t>(std::bit_ceil(uint64_t(rows)));
}

// 1, 2, 3, 4, 6, 8, 12, 16, 24, …
int64_t RoundUpCount(int64_t count) {
  const int64_t power = static_cast<int64_t>(std::bit_ceil(uint64_t(count)));
  return power >= 4 && count <= power / 4 * 3 ? power / 4 * 3 : power;
}

// To a multiple of an eighth of the class: at most 27 % more than (longest)².
int64_t RoundUpLength(int64_t rows) {
  const int64_t unit = LengthClass(rows) / 8;
  return (rows + unit - 1) / unit * unit;
}

// What the documents of a call have in common.
struct Class {
  int64_t length = 0;  // 0: not known yet
  bool ungrouped = false;
  friend bool operator==(const Class&, const Class&) = default;
};

Class ClassOf(int64_t rows, const AttentionHeads& heads) {
  const int64_t longest = RoundUpLength(rows);
  return {LengthClass(rows),
          heads.group() > 1 && longest * longest * 2 * heads.group() > heads.group_limit_bytes};
}

// Documents of a class that may share a call; a value of RoundUpCount.
int64_t MostDocuments(const Class& common, const AttentionHeads& heads) {
  const int64_t per_head = common.length * common.length * 2;
  const int64_t fit = heads.limit_bytes / (per_head * (common.ungrouped ? 1 : heads.group()));
  int64_t most = 1;
  while (RoundUpCount(most + 1) <= fit) most = RoundUpCount(most + 1);
  return most;
}

int64_t HeadsPerLaunch(const AttentionCall& call, const AttentionHeads& heads) {
  const int64_t per_head = call.count * call.longest * call.longest * 2, group = heads.group();
  const int64_t limit = std::max(heads.limit_bytes, heads.more_bytes);
  const int64_t least = call.ungrouped ? 1 : group;
  for (int64_t count = heads.heads; count > least; --count) {
    const bool even = heads.heads % count == 0 && (count % group == 0 || group % count == 0);
    if (even && count * per_head <= limit) return count;
  }
  return least;
}

}  // namespace

std::vector<AttentionCall> PlanAttentionCalls(const int32_t* starts, int64_t documents,
                                              const AttentionHeads& heads) {
  std::vector<AttentionCall> calls;
  Class current;  // of the last call
  for (int64_t d = 0; d < documents; ++d) {
    const int64_t rows = starts[d + 1] - starts[d];
    const Class own = rows == 0 ? current : ClassOf(rows, heads);
    const bool known = current.length != 0;
    if (calls.empty() || (known && own != current) ||
        (known && d - calls.back().first == MostDocuments(current, heads))) {
      calls.push_back({d, d, 0, 0, 0, false});
      current = rows == 0 ? Class{} : own;
    }
    if (current.length == 0) current = own;
    calls.back().last = d + 1;
    calls.back().longest = std::max(calls.back().longest, rows);
  }
  std::erase_if(calls, [](const AttentionCall& call) { return call.longest == 0; });
  for (AttentionCall& call : calls) {
    call.ungrouped = ClassOf(call.longest, heads).ungrouped;
    call.count = RoundUpCount(call.last - call.first);
    call.longest = RoundUpLength(call.longest);
    call.heads = HeadsPerLaunch(call, heads);
  }
  return calls;
}

}  // namespace lockstep::kernels
