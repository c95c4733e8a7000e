#include "nn/packed_tokens.h"

#include "nn/host_tensor.h"

namespace lockstep::nn {
namespace {

// The elements and, behind them, zeros up to a multiple of `multiple`.
template <typename T>
Tensor Padded(const Context& context, absl::Span<const T> values, int64_t multiple) {
  const auto size = static_cast<int64_t>(values.size());
  const int64_t padded = PaddedRows(size, multiple);
  if (padded == size) return FromHost(context, values);
  std::vector<T> longer(values.begin(), values.end());
  longer.resize(padded, T(0));
  return FromHost<T>(context, longer);
}

}  // namespace

PackedTokens ToDevice(const Context& context, const HostTokens& host, int64_t row_multiple) {
  PackedTokens pack;
  pack.input_ids = Padded(context, host.input_ids, row_multiple);
  pack.positions = Padded(context, host.positions, row_multiple);
  pack.cu_seqlens = FromHost(context, host.cu_seqlens);
  pack.target_rows = FromHost(context, host.target_rows);
  pack.targets = FromHost(context, host.targets);
  if (!host.token_keys.empty()) {
    pack.token_keys = Padded(context, host.token_keys, row_multiple);
  }
  pack.host_cu_seqlens.assign(host.cu_seqlens.begin(), host.cu_seqlens.end());
  return pack;
}

}  // namespace lockstep::nn
