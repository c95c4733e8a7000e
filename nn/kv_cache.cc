#include "nn/kv_cache.h"

#include "base/check.h"
#include "nn/host_tensor.h"
#include "tensor/kernels/cast.h"

namespace lockstep::nn {

KvCache::KvCache(const Context& context, const ModelConfig& config, DType dtype, int64_t capacity)
    : capacity_(capacity) {
  const int64_t width = 2 * config.num_kv_heads * config.head_dim;
  for (int64_t i = 0; i < config.num_layers(); ++i) {
    layers_.push_back(Tensor::Empty(*context.allocator, dtype, {capacity, width}));
  }
}

Tensor KvCache::Append(const Context& context, int layer, const Tensor& kv) {
  const int64_t end = length_ + kv.dim(0);
  CHECK_LE(end, capacity_) << "[kv_cache] full";
  const Tensor rows = layers_[layer].Slice(0, length_, end);
  kernels::Cast(context.stream, kv, rows.Mutable("kv_cache"));
  return layers_[layer].Slice(0, 0, end);
}

autograd::Documents KvCache::Documents(const Context& context, int64_t tokens) const {
  const std::vector<int32_t> starts = {0, static_cast<int32_t>(length_ + tokens)};
  return {starts, FromHost<int32_t>(context, starts)};
}

void KvCache::Advance(int64_t tokens) { length_ += tokens; }

}  // namespace lockstep::nn
