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

}  // namespace

std::vector<AttentionCall> PlanAttentionCalls(const int32_t* starts, int64_t documents) {
  std::vector<AttentionCall> calls;
  int64_t current = 0;  // the class of the run; 0: not known yet
  for (int64_t d = 0; d < documents; ++d) {
    const int64_t rows = starts[d + 1] - starts[d];
    const int64_t own = rows == 0 ? current : LengthClass(rows);
    if (calls.empty() || (own != current && current != 0)) {
      calls.push_back({d, d, 0, 0});
      current = own;
    }
    if (current == 0) current = own;
    calls.back().last = d + 1;
    calls.back().longest = std::max(calls.back().longest, rows);
  }
  std::erase_if(calls, [](const AttentionCall& call) { return call.longest == 0; });
  for (AttentionCall& call : calls) {
    call.count = RoundUpCount(call.last - call.first);
    call.longest = RoundUpLength(call.longest);
  }
  return calls;
}

int64_t HeadsPerCall(const AttentionCall& call, int64_t heads, int64_t kv_heads,
                     int64_t limit_bytes) {
  const int64_t group = heads / kv_heads, per_head = call.count * call.longest * call.longest * 2;
  for (int64_t kv = kv_heads; kv > 1; --kv) {
    if (kv_heads % kv == 0 && kv * group * per_head <= limit_bytes) return kv * group;
  }
  return group;
}

}  // namespace lockstep::kernels
