// What goes through a model at once: whole documents end to end, on the device.
//
// There is no batch dimension and no padding between documents. Document d owns the rows
// [cu_seqlens[d], cu_seqlens[d + 1]); attention never leaves them and positions restart in each.
// Rows behind the last document (a tail to reach a multiple) belong to none: nothing depends on
// them.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "tensor/context.h"
#include "tensor/tensor.h"

namespace lockstep::nn {

struct PackedTokens {
  Tensor input_ids;    // i32[T]
  Tensor positions;    // i32[T], from 0 in each document
  Tensor cu_seqlens;   // i32[D + 1], first 0
  Tensor token_keys;   // i64[T], dropout's counter; may be undefined where nothing is dropped
  Tensor target_rows;  // i32[S], ascending: rows whose next token is supervised
  Tensor targets;      // i32[S], that next token

  std::vector<int32_t> host_cu_seqlens;  // cu_seqlens, for what is chosen by document length

  int64_t num_tokens() const { return input_ids.dim(0); }
  int64_t num_documents() const { return static_cast<int64_t>(host_cu_seqlens.size()) - 1; }
  int64_t num_supervised() const { return target_rows.defined() ? target_rows.dim(0) : 0; }
};

// The same in host memory, as a loader hands it over; spans need only live during the call below.
struct HostTokens {
  absl::Span<const int32_t> input_ids, positions, cu_seqlens, target_rows, targets;
  absl::Span<const int64_t> token_keys;
};

// T is rounded up to a multiple of this on GPUs, so that few sizes of products exist.
inline constexpr int64_t kGpuRowMultiple = 64;
constexpr int64_t PaddedRows(int64_t tokens, int64_t row_multiple) {
  return (tokens + row_multiple - 1) / row_multiple * row_multiple;
}

// Copies to context's device, in the order of its stream; on return the host memory may go. Rows of
// no document (token 0, position 0) are added until T is a multiple of `row_multiple`.
PackedTokens ToDevice(const Context& context, const HostTokens& host, int64_t row_multiple = 1);

}  // namespace lockstep::nn
