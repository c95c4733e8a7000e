// Keys and values of one document's past tokens, layer by layer, for generation.
//
//   KvCache cache(context, config, dtype, /*capacity=*/prompt + max_new_tokens);
//   // Prefill: any number of tokens.
//   hidden = decoder.Hidden(tape, prompt, {.caches = {&cache}});
//   // Its position is cache.length().
//   hidden = decoder.Hidden(tape, one_token, {.caches = {&cache}});
//
// Positions of a document go on where its cache ends. More tokens than the capacity are fatal.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/ops/attention.h"
#include "nn/config.h"
#include "tensor/context.h"
#include "tensor/tensor.h"

namespace lockstep::nn {

class KvCache {
 public:
  KvCache(const Context& context, const ModelConfig& config, DType dtype, int64_t capacity);

  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }

  // Copies the new tokens' k | v of a layer, [T, 2·K·D] with contiguous rows, behind those there.
  // Returns all so far, [length() + T, 2·K·D].
  Tensor Append(const Context& context, int layer, const Tensor& kv);

  // Where the document's keys lie once `tokens` more are there.
  autograd::Documents Documents(const Context& context, int64_t tokens) const;

  // All layers have appended `tokens`.
  void Advance(int64_t tokens);

  // Nothing is there any more.
  void Clear() { length_ = 0; }

 private:
  std::vector<Tensor> layers_;  // [capacity, 2·K·D]
  int64_t capacity_;
  int64_t length_ = 0;
};

}  // namespace lockstep::nn
