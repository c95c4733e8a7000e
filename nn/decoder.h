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
#include <memory>
#include <vector>

#include "autograd/tape.h"
#include "nn/config.h"
#include "nn/decoder_weights.h"
#include "nn/kv_cache.h"
#include "nn/packed_tokens.h"

namespace lockstep::nn {

// What backward computes again instead of keeping. All three give the same bits.
enum class Checkpointing {
  kNone,
  kCheap,  // norms and the gated activation
  kLayer,  // whole layers: only x is kept
};

struct ForwardOptions {
  Checkpointing checkpointing = Checkpointing::kNone;
  bool dropout = false;       // apply LoRA's dropout (training); evaluation leaves it out
  uint64_t dropout_seed = 0;  // of the run; which element is dropped depends on it, on the pack's
                              // token_keys, the module's name and the channel alone
  KvCache* cache = nullptr;   // generation: the pack continues these documents (tape in kForward)
};

class Decoder {
 public:
  Decoder(ModelConfig config, DecoderWeights weights);

  // The hidden states after the final norm, [T, C].
  autograd::Variable Hidden(autograd::Tape& tape, const PackedTokens& pack,
                            const ForwardOptions& options = {}) const;

  // Sum over the pack's targets of −log softmax(logits of its target row)[target], f32[1] (f64 in
  // f64), times nothing; its gradient is multiplied by grad_scale: 1/N folds the step's mean into
  // it. The seed for Backward is a tensor of ones.
  autograd::Variable NllSum(autograd::Tape& tape, const autograd::Variable& hidden,
                            const PackedTokens& pack, double grad_scale) const;

  // The NLL of each target by itself, [S], for evaluation per document.
  Tensor NllPerTarget(autograd::Tape& tape, const autograd::Variable& hidden,
                      const PackedTokens& pack) const;

  // Logits of rows [begin, end) of hidden, [end − begin, V].
  Tensor Logits(autograd::Tape& tape, const autograd::Variable& hidden, int64_t begin,
                int64_t end) const;

  const ModelConfig& config() const { return config_; }
  const DecoderWeights& weights() const { return weights_; }

 private:
  ModelConfig config_;
  DecoderWeights weights_;
};

}  // namespace lockstep::nn
