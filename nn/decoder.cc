#include "nn/decoder.h"

#include <memory>
#include <utility>
#include <vector>

#include "autograd/ops/add_rms_norm.h"
#include "autograd/ops/attention.h"
#include "autograd/ops/dora.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/embedding_lora.h"
#include "autograd/ops/glu.h"
#include "autograd/ops/head_norm.h"
#include "autograd/ops/linear_lora.h"
#include "autograd/ops/normed_linear.h"
#include "autograd/ops/normed_mlp.h"
#include "autograd/ops/rope.h"
#include "base/check.h"
#include "nn/host_tensor.h"
#include "nn/rope.h"
#include "tensor/half.h"

namespace lockstep::nn {
namespace {

using autograd::LoraLayer;
using autograd::NormedResult;
using autograd::ResidualInput;
using autograd::Tape;
using autograd::Variable;

// What half a layer leaves: the residual stream, and the branch that joins it next, which may have
// a norm of its own.
struct HalfLayer {
  Variable stream;
  Variable branch = {};
  Variable post_norm = {};
};

// One pack's way through the decoder: what all layers share. A layer's segment may run again in
// backward, when Hidden has long returned: segments hold it by shared_ptr.
class Pass : public std::enable_shared_from_this<Pass> {
 public:
  Pass(const ModelConfig& config, const Context& context, DType dtype, const PackedTokens& pack,
       const ForwardOptions& options)
      : config_(config),
        options_(options),
        dtype_(dtype),
        dropout_{options.lora_dropout, pack.token_keys} {
    layout_ = {config.num_heads, config.num_kv_heads, config.head_dim};
    norm_.eps = config.rms_norm_eps;
    norm_.form = config.norm_adds_one ? autograd::NormForm::kGemma : autograd::NormForm::kLlama;
    queries_ = {pack.host_cu_seqlens, pack.cu_seqlens};
    std::vector<int64_t> lengths;
    for (int64_t d = 0; d < pack.num_documents(); ++d) {
      lengths.push_back(pack.host_cu_seqlens[d + 1] - pack.host_cu_seqlens[d]);
    }
    if (!options.caches.empty()) {
      CHECK_EQ(options.caches.size(), lengths.size()) << "[kv_cache] want one a document";
    }
    for (size_t d = 0; d < options.caches.size(); ++d) {
      const std::vector<int32_t> starts = {0, static_cast<int32_t>(lengths[d])};
      cached_.push_back({options.caches[d]->Documents(context, lengths[d]),
                         {starts, FromHost<int32_t>(context, starts)}});
      lengths[d] += options.caches[d]->length();
    }
    for (const RopeConfig& rope : config.ropes) {
      rope_tables_.push_back(
          PackRopeTable(context, rope, pack.positions, pack.host_cu_seqlens, lengths));
    }
  }

  // Layer `index` behind `last`; with Checkpointing::kLayer it is a segment of the tape.
  HalfLayer Layer(Tape& tape, int index, const LayerWeights& layer, HalfLayer last) const {
    if (options_.checkpointing != Checkpointing::kLayer) {
      return BothHalves(tape, index, layer, Joined(last, layer.input_norm));
    }
    // A segment keeps the sum, not its two parts, but before a post-norm.
    Tensor rstd;
    if (last.branch.defined() && !last.post_norm.defined()) {
      const autograd::ResidualSumResult sum =
          autograd::ResidualSum(tape, Joined(last, layer.input_norm));
      last = {sum.sum};
      rstd = sum.rstd;
    }
    // It must not hold its inputs' values: the tape does, or parks them.
    const auto run = [pass = shared_from_this(), index, &layer, post_norm = last.post_norm, rstd](
                         Tape& t, absl::Span<const Variable> in) {
      const HalfLayer x = pass->BothHalves(
          t, index, layer, pass->Joined({in[0], in[1], post_norm}, layer.input_norm, rstd));
      return std::vector<Variable>{x.stream, x.branch};
    };
    const std::vector<Variable> outputs =
        tape.Checkpoint("layer", {last.stream, last.branch}, run, options_.parking);
    return {outputs[0], outputs[1], layer.post_mlp_norm};
  }

  // What an op reads that adds the branch to the stream and norms the sum by `norm`.
  ResidualInput Joined(const HalfLayer& half, const Variable& norm, Tensor rstd = {}) const {
    return {half.stream, half.branch, half.post_norm, norm, norm_, std::move(rstd)};
  }

 private:
  HalfLayer BothHalves(Tape& tape, int index, const LayerWeights& layer,
                       const ResidualInput& in) const {
    const HalfLayer middle = Attention(tape, index, layer, in);
    return Mlp(tape, layer, Joined(middle, layer.pre_mlp_norm));
  }

  HalfLayer Attention(Tape& tape, int index, const LayerWeights& layer,
                      const ResidualInput& in) const {
    const Tensor& table = rope_tables_[config_.layers[index].rope];
    const bool rope_adds_shares =
        !config_.qk_norm && layer.qkv.magnitudes.empty() &&
        autograd::RopeTakesShares(dtype_, layout_, table, LoraOf(layer.qkv));
    NormedResult normed = NormedLinear(tape, layer.qkv, in, rope_adds_shares);
    if (config_.qk_norm) {
      normed.y = autograd::HeadNorm(tape, normed.y, layer.q_norm, layer.k_norm, layout_, norm_);
    }
    const Variable qkv = autograd::Rope(tape, normed.y, layout_, table, normed.pending);
    const autograd::AttentionOptions attention = AttentionOf(config_, index, options_);
    const bool keeps_attention = options_.keep_attention && options_.parking != nullptr;
    const Variable mixed =
        options_.caches.empty()
            ? autograd::Attention(tape, qkv, layout_, queries_, attention, keeps_attention)
            : Cached(tape, index, qkv, attention);
    return {normed.sum, Linear(tape, layer.o, mixed), layer.post_attention_norm};
  }

  // The end of a segment, of the layer or of its own.
  HalfLayer Mlp(Tape& tape, const LayerWeights& layer, const ResidualInput& in) const {
    const auto activation = config_.activation == Activation::kSilu
                                ? autograd::GluActivation::kSilu
                                : autograd::GluActivation::kGeluTanh;
    if (layer.gate_up.magnitudes.empty() && layer.down.magnitudes.empty()) {
      const LoraLayer wide = LoraOf(layer.gate_up), down = LoraOf(layer.down);
      if (autograd::NormedMlpTakes(dtype_, wide, down, dropout_)) {
        const NormedResult result = autograd::NormedMlp(tape, in, wide, down, activation, dropout_,
                                                        /*ends_segment=*/true);
        return {result.sum, result.y, layer.post_mlp_norm};
      }
    }
    const NormedResult wide = NormedLinear(tape, layer.gate_up, in);
    const auto activate = [pass = shared_from_this(), &layer, activation](
                              Tape& t, absl::Span<const Variable> gate_up) {
      const Variable product = autograd::Glu(t, gate_up[0], activation);
      return std::vector<Variable>{pass->Linear(t, layer.down, product, /*ends_segment=*/true)};
    };
    const std::vector<Variable> branch = options_.checkpointing == Checkpointing::kCheap
                                             ? tape.Checkpoint("mlp", {wide.y}, activate)
                                             : activate(tape, {wide.y});
    return {wide.sum, branch[0], layer.post_mlp_norm};
  }

  // What the products alone compute: with DoRA the bias comes behind its scaling.
  static LoraLayer LoraOf(const LinearWeights& linear) {
    return {linear.weight, linear.magnitudes.empty() ? linear.bias : Variable(), linear.adapters,
            linear.image};
  }

  Variable Linear(Tape& tape, const LinearWeights& linear, const Variable& x,
                  bool ends_segment = false) const {
    if (linear.magnitudes.empty()) {
      return autograd::LinearLora(tape, x, LoraOf(linear), dropout_, ends_segment);
    }
    const Variable y = autograd::LinearLora(tape, x, LoraOf(linear), dropout_);
    return autograd::Dora(tape, y, linear.weight, linear.bias, linear.adapters, linear.magnitudes,
                          x, dropout_);
  }

  NormedResult NormedLinear(Tape& tape, const LinearWeights& linear, const ResidualInput& in,
                            bool leaves_shares = false) const {
    if (linear.magnitudes.empty()) {
      return autograd::NormedLinear(tape, in, LoraOf(linear), dropout_, leaves_shares);
    }
    const autograd::AddRmsNormResult x = autograd::AddRmsNorm(tape, in);  // DoRA reads it as well
    return {x.sum, Linear(tape, linear, x.normed)};
  }

  Variable Cached(Tape& tape, int index, const Variable& qkv,
                  const autograd::AttentionOptions& attention) const {
    const Context& context = tape.context();
    const int64_t q_width = config_.num_heads * config_.head_dim;
    const int64_t kv_width = config_.num_kv_heads * config_.head_dim;
    const Tensor out = Tensor::Empty(*context.allocator, dtype_, {qkv.value().dim(0), q_width});
    for (size_t d = 0; d < cached_.size(); ++d) {
      const int64_t begin = queries_.starts[d], end = queries_.starts[d + 1];
      const Tensor rows = qkv.value().Slice(0, begin, end);
      const Tensor kv = options_.caches[d]->Append(context, index,
                                                   rows.Slice(1, q_width, q_width + 2 * kv_width));
      autograd::CachedAttention(context, rows.Slice(1, 0, q_width), kv.Slice(1, 0, kv_width),
                                kv.Slice(1, kv_width, 2 * kv_width), layout_, cached_[d].queries,
                                cached_[d].keys, attention, out.Slice(0, begin, end));
    }
    return Variable::Frozen(out);
  }

  struct CachedDocument {
    autograd::Documents keys, queries;
  };

  const ModelConfig& config_;  // the decoder's, which outlives its tapes
  const ForwardOptions options_;
  const DType dtype_;  // of activations
  autograd::QkvLayout layout_;
  autograd::RmsNormOptions norm_;
  autograd::LoraDropout dropout_;
  autograd::Documents queries_;
  std::vector<CachedDocument> cached_;
  std::vector<Tensor> rope_tables_;  // by RopeConfig
};

// transformers rounds the factor to the model's dtype before it multiplies.
double EmbeddingScale(double scale, DType compute_dtype) {
  if (compute_dtype != DType::kBF16) return scale;
  return Bf16ToFloat(FloatToBf16(static_cast<float>(scale)));
}

// In 16 bits, on GPUs: chunks of a thousand rows, so that reading W costs less than the products.
int64_t MaxLogits(DType compute_dtype) {
  return SizeOf(compute_dtype) == 2 ? int64_t{1} << 27 : autograd::HeadNllOptions{}.max_logits;
}

autograd::HeadWeights HeadOf(const DecoderWeights& weights) {
  const LinearWeights& head = weights.head;
  return {{head.weight, head.bias, head.adapters},
          {},
          head.magnitudes.empty() ? Variable() : head.magnitudes[0]};
}

}  // namespace

autograd::AttentionOptions AttentionOf(const ModelConfig& config, int index,
                                       const ForwardOptions& forward) {
  autograd::AttentionOptions options;
  options.scale = config.attention_scale;
  options.softcap = config.attention_softcap;
  options.window = config.layers[index].window;
  options.compact = forward.checkpointing == Checkpointing::kLayer;
  options.score_bytes = forward.score_bytes;
  return options;
}

Decoder::Decoder(ModelConfig config, DecoderWeights weights, DType compute_dtype)
    : config_(std::move(config)), weights_(std::move(weights)), compute_dtype_(compute_dtype) {
  CHECK_EQ(weights_.layers.size(), config_.layers.size());
}

Variable Decoder::Hidden(Tape& tape, const PackedTokens& pack,
                         const ForwardOptions& options) const {
  const auto pass =
      std::make_shared<const Pass>(config_, tape.context(), compute_dtype_, pack, options);
  const double scale = EmbeddingScale(config_.embedding_scale, compute_dtype_);
  const int64_t padding = config_.pad_token_id < config_.vocab_size ? config_.pad_token_id : -1;
  HalfLayer last;
  weights_.embedding_arrival.Await();
  last.stream =
      autograd::Embedding(tape, pack.input_ids, weights_.embedding, compute_dtype_, scale, padding);
  if (weights_.embedding_lora.has_value()) {
    const autograd::LoraAdapter& lora = *weights_.embedding_lora;
    last.stream = autograd::EmbeddingLora(tape, pack.input_ids, last.stream, lora.a, lora.b,
                                          {.scale = lora.scale * scale, .padding_idx = padding});
  }
  for (int i = 0; i < static_cast<int>(weights_.layers.size()); ++i) {
    weights_.layers[i].arrival.Await();
    last = pass->Layer(tape, i, weights_.layers[i], std::move(last));
  }
  for (size_t d = 0; d < options.caches.size(); ++d) {
    options.caches[d]->Advance(pack.host_cu_seqlens[d + 1] - pack.host_cu_seqlens[d]);
  }
  weights_.head_arrival.Await();
  return autograd::AddRmsNorm(tape, pass->Joined(last, weights_.norm)).normed;
}

int64_t Decoder::HeadChunkRows() const {
  return autograd::HeadChunkRows(weights_.head.weight.value().dim(0), MaxLogits(compute_dtype_));
}

autograd::HeadNllResult Decoder::NllSum(Tape& tape, const Variable& hidden,
                                        const PackedTokens& pack, double grad_scale,
                                        const ForwardOptions& options) const {
  autograd::HeadWeights head = HeadOf(weights_);
  head.dropout = {options.lora_dropout, pack.token_keys};
  autograd::HeadNllOptions nll;
  nll.grad_scale = grad_scale;
  nll.softcap = config_.final_softcap;
  nll.max_logits = MaxLogits(compute_dtype_);
  return autograd::HeadNll(tape, hidden, pack.target_rows, pack.targets, head, nll);
}

Tensor Decoder::Logits(Tape& tape, const Variable& hidden, const Tensor& rows) const {
  return autograd::HeadLogits(tape, hidden, rows, HeadOf(weights_), config_.final_softcap);
}

}  // namespace lockstep::nn
