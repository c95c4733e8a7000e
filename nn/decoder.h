// The decoder that all families are: embedding, layers of attention and gated MLP, final norm,
// output head. What differs between families is data in ModelConfig; what is trained is in the
// leaves among the weights.
//
// A layer, with x the residual stream [T, C] (norms in brackets only with branch_norms):
//
//   h = input_layernorm(x)
//   q, k, v = split(qkv(h));  q, k = q_norm(q), k_norm(k) with qk_norm;  rope(q), rope(k)
//   x += [post_attention_layernorm] o(attention(q, k, v))
//   h = post_attention_layernorm(x)                   (pre_feedforward_layernorm with branch_norms)
//   x += [post_feedforward_layernorm] down(act(gate(h)) ⊙ up(h))
#pragma once

#include <cstdint>

#include "autograd/ops/attention.h"
#include "autograd/ops/head_nll.h"
#include "autograd/tape.h"
#include "nn/config.h"
#include "nn/decoder_weights.h"
#include "nn/kv_cache.h"
#include "nn/packed_tokens.h"

namespace lockstep::nn {

// What backward computes again instead of keeping. All three give the same bits.
enum class Checkpointing {
  kNone,
  // The gated unit's output, T·F elements a layer, where the MLP is several ops. NormedMlp keeps it
  // in no mode: with that, as LoRA in bf16 has it, kCheap is kNone.
  kCheap,
  kLayer,  // whole layers: only the residual stream is kept
};

// Rows that documents have at least, on average over their rows, where computing attention's
// outputs again takes longer than fetching them from a GPU's host memory does.
inline constexpr int64_t kKeepAttentionFrom = 8192;

struct ForwardOptions {
  Checkpointing checkpointing = Checkpointing::kNone;
  Parking* parking = nullptr;   // with kLayer: what is kept waits there
  int64_t score_bytes = 0;      // kernels/attention.h: of attention's backward
  bool keep_attention = false;  // with kLayer and parking: its outputs wait there as well
  // Training: the share of LoRA's inputs that is dropped (nn/lora.h). Which are depends on the
  // run's seed, the module, the pack's token_keys and the channel alone.
  double lora_dropout = 0;
  std::vector<KvCache*> caches = {};  // generation: each document of the pack goes on where its
                                      // own cache ends
};

// Of layer `index`'s attention.
autograd::AttentionOptions AttentionOf(const ModelConfig& config, int index,
                                       const ForwardOptions& forward);

class Decoder {
 public:
  Decoder(ModelConfig config, DecoderWeights weights, DType compute_dtype);

  // The hidden states after the final norm, [T, C]. Weights that come from other ranks are awaited
  // as they are read, here; those of the head, too.
  autograd::Variable Hidden(autograd::Tape& tape, const PackedTokens& pack,
                            const ForwardOptions& options = {}) const;

  // loss = grad_scale · Σ over the pack's targets of −log softmax(logits of its row)[target], and
  // the terms of the sum (autograd/ops/head_nll.h). With grad_scale = 1/N of the step the packs'
  // losses and gradients add up to the step's mean.
  autograd::HeadNllResult NllSum(autograd::Tape& tape, const autograd::Variable& hidden,
                                 const PackedTokens& pack, double grad_scale,
                                 const ForwardOptions& options = {}) const;

  // NllSum's rows whose logits exist at once.
  int64_t HeadChunkRows() const;

  // Logits of some rows of hidden (i32 [R]), [R, V]; not differentiable.
  Tensor Logits(autograd::Tape& tape, const autograd::Variable& hidden, const Tensor& rows) const;

  const ModelConfig& config() const { return config_; }
  const DecoderWeights& weights() const { return weights_; }
  DType compute_dtype() const { return compute_dtype_; }

 private:
  ModelConfig config_;
  DecoderWeights weights_;
  DType compute_dtype_;
};

}  // namespace lockstep::nn
