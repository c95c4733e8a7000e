#include "nn/packed_tokens.h"

#include "nn/host_tensor.h"

namespace lockstep::nn {

PackedTokens ToDevice(const Context& context, const HostTokens& host) {
  PackedTokens pack;
  pack.input_ids = FromHost(context, host.input_ids);
  pack.positions = FromHost(context, host.positions);
  pack.cu_seqlens = FromHost(context, host.cu_seqlens);
  pack.target_rows = FromHost(context, host.target_rows);
  pack.targets = FromHost(context, host.targets);
  if (!host.token_keys.empty()) pack.token_keys = FromHost(context, host.token_keys);
  pack.host_cu_seqlens.assign(host.cu_seqlens.begin(), host.cu_seqlens.end());
  return pack;
}

}  // namespace lockstep::nn
