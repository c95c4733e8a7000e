#include "tools/benchmarks/ceiling.h"

#include <algorithm>
#include <utility>

#include "autograd/ops/qkv_layout.h"
#include "autograd/ops/wide_matrix.h"
#include "tensor/kernels/attention.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/scale.h"
#include "tools/benchmarks/shapes.h"

namespace lockstep {
namespace {

autograd::QkvLayout LayoutOf(const nn::ModelConfig& config) {
  return {config.num_heads, config.num_kv_heads, config.head_dim};
}

kernels::PackedDocuments DocumentsOf(const nn::PackedTokens& pack) {
  const int32_t* starts = pack.host_cu_seqlens.data();
  return {pack.num_documents(), starts, starts, pack.cu_seqlens, pack.cu_seqlens};
}

kernels::WorkspaceBytes WorkspaceOf(const Context& context, const nn::Decoder& decoder,
                                    const nn::PackedTokens& pack,
                                    const kernels::AttentionOptions& options) {
  const nn::ModelConfig& config = decoder.config();
  return kernels::AttentionWorkspace(context.device(),
                                     {pack.num_tokens(), config.num_heads, config.num_kv_heads,
                                      config.head_dim, decoder.compute_dtype()},
                                     DocumentsOf(pack), options);
}

// Operations of a product over all that queries see, for all heads.
double AttentionFlops(const nn::ModelConfig& config, const nn::PackedTokens& pack, int layer) {
  double pairs = 0;
  for (int64_t d = 0; d < pack.num_documents(); ++d) {
    const double rows = pack.host_cu_seqlens[d + 1] - pack.host_cu_seqlens[d];
    const auto window = static_cast<double>(config.layers[layer].window);
    const double seen = window == 0 ? rows : std::min(rows, window);
    pairs += seen * (seen + 1) / 2 + (rows - seen) * seen;
  }
  return 2 * pairs * static_cast<double>(config.num_heads * config.head_dim);
}

}  // namespace

Ceiling::Ceiling(const Context& context, const nn::Decoder& decoder, const nn::PackedTokens& pack,
                 int64_t score_bytes)
    : context_(context), decoder_(decoder), pack_(pack), forward_{.score_bytes = score_bytes} {
  AllocateOperands();
  const int64_t tokens = pack.num_tokens();
  const std::vector<nn::LayerWeights>& layers = decoder.weights().layers;
  const int size = static_cast<int>(layers.size());
  const auto random = [&](const nn::LinearWeights& of) {
    return Random(tokens, of.weight.value().dim(1));
  };
  const auto sink = [&](const nn::LinearWeights& of) {
    return Sink(tokens, of.weight.value().dim(0));
  };
  for (int i = 0; i < size; ++i) {
    const nn::LayerWeights& layer = layers[i];
    AddProduct("qkv", random(layer.qkv), layer.qkv, qkv_);
    AddAttention(i);
    AddProduct("o", mixed_, layer.o, sink(layer.o));
    AddProduct("gate_up", random(layer.gate_up), layer.gate_up, sink(layer.gate_up));
    AddProduct("down", random(layer.down), layer.down, sink(layer.down));
  }
  AddHead();
  for (int i = size - 1; i >= 0; --i) {
    const nn::LayerWeights& layer = layers[i];
    AddGradient("down", layer.down, tokens);
    AddGradient("gate_up", layer.gate_up, tokens);
    AddGradient("o", layer.o, tokens);
    AddAttentionGradient(i);
    if (i > 0) AddGradient("qkv", layer.qkv, tokens);
  }
}

void Ceiling::Run() const {
  for (const auto& [part, call] : order_) parts_[part].calls[call]();
}

void Ceiling::AllocateOperands() {
  const nn::ModelConfig& config = decoder_.config();
  const DType dtype = decoder_.compute_dtype();
  const int64_t tokens = pack_.num_tokens();
  const autograd::QkvLayout layout = LayoutOf(config);
  const auto empty = [&](DType type, std::initializer_list<int64_t> shape) {
    return Tensor::Empty(*context_.allocator, type, shape);
  };
  const int64_t widest =
      std::max({2 * config.intermediate_size, config.hidden_size, layout.width()});
  const int64_t chunk = std::min(decoder_.HeadChunkRows(), pack_.num_supervised());
  const int64_t elements = std::max(tokens * widest, chunk * config.vocab_size);
  random_ = empty(dtype, {elements});
  sink_ = empty(dtype, {elements});
  qkv_ = empty(dtype, {tokens, layout.width()});
  mixed_ = empty(dtype, {tokens, layout.heads * layout.head_dim});
  lse_ = empty(AccumulateType(dtype), {tokens, layout.heads});
  kernels::WorkspaceBytes most;
  for (int i = 0; i < config.num_layers(); ++i) {
    const kernels::WorkspaceBytes bytes =
        WorkspaceOf(context_, decoder_, pack_, nn::AttentionOf(config, i, forward_));
    most = {std::max(most.forward, bytes.forward), std::max(most.backward, bytes.backward)};
  }
  forward_bytes_ = empty(DType::kU8, {most.forward});
  backward_bytes_ = empty(DType::kU8, {most.backward});
  // Values of deviation 1, as behind a norm.
  FillRandom(context_, random_);
  const Tensor factor = empty(DType::kF64, {1});
  kernels::Fill(context_.stream, factor.Mutable("ceiling"), 50.0);
  kernels::Scale(context_.stream, random_, factor, /*accumulate=*/false,
                 random_.Mutable("ceiling"));
}

Tensor Ceiling::Random(int64_t rows, int64_t columns) const {
  return random_.Slice(0, 0, rows * columns).Reshape({rows, columns});
}

Tensor Ceiling::Sink(int64_t rows, int64_t columns) const {
  return sink_.Slice(0, 0, rows * columns).Reshape({rows, columns});
}

void Ceiling::Add(const std::string& name, double flops, std::function<void()> call) {
  auto part = std::find_if(parts_.begin(), parts_.end(),
                           [&](const Part& known) { return known.name == name; });
  if (part == parts_.end()) part = parts_.insert(part, {name, 0, {}});
  part->flops += flops;
  part->calls.push_back(std::move(call));
  order_.push_back({part - parts_.begin(), part->calls.size() - 1});
}

void Ceiling::AddProduct(const std::string& name, const Tensor& x, const nn::LinearWeights& of,
                         const Tensor& y) {
  const autograd::WideMatrix w(of.weight.value(), of.image);
  const double flops = 2.0 * static_cast<double>(x.numel()) * static_cast<double>(w.outputs());
  Add(name, flops, [this, x, w, y] { w.Outputs(context_, x, y.Mutable("ceiling"), {}); });
}

void Ceiling::AddGradient(const std::string& name, const nn::LinearWeights& of, int64_t rows) {
  const autograd::WideMatrix w(of.weight.value(), of.image);
  const Tensor dy = Random(rows, w.outputs()), dx = Sink(rows, w.inputs());
  const double flops = 2.0 * static_cast<double>(dy.numel()) * static_cast<double>(w.inputs());
  Add(name + "_dx", flops, [this, dy, w, dx] { w.Inputs(context_, dy, dx.Mutable("ceiling"), 0); });
}

void Ceiling::AddAttention(int layer) {
  Add("attention", 2 * AttentionFlops(decoder_.config(), pack_, layer), [this, layer] {
    const autograd::QkvLayout layout = LayoutOf(decoder_.config());
    kernels::Attention(context_.stream, layout.Q(qkv_), layout.K(qkv_), layout.V(qkv_),
                       DocumentsOf(pack_), nn::AttentionOf(decoder_.config(), layer, forward_),
                       layout.Heads(mixed_.Mutable("ceiling"), 0, layout.heads),
                       lse_.Mutable("ceiling"), forward_bytes_);
  });
}

void Ceiling::AddAttentionGradient(int layer) {
  Add("attention_backward", 5 * AttentionFlops(decoder_.config(), pack_, layer), [this, layer] {
    const autograd::QkvLayout layout = LayoutOf(decoder_.config());
    const View dout = Random(mixed_.dim(0), mixed_.dim(1));
    const View dqkv = Sink(qkv_.dim(0), qkv_.dim(1)).Mutable("ceiling");
    kernels::AttentionBackward(context_.stream, layout.Heads(dout, 0, layout.heads), layout.Q(qkv_),
                               layout.K(qkv_), layout.V(qkv_),
                               layout.Heads(mixed_, 0, layout.heads), lse_, DocumentsOf(pack_),
                               nn::AttentionOf(decoder_.config(), layer, forward_), layout.Q(dqkv),
                               layout.K(dqkv), layout.V(dqkv), backward_bytes_);
  });
}

void Ceiling::AddHead() {
  const nn::LinearWeights& head = decoder_.weights().head;
  const nn::ModelConfig& config = decoder_.config();
  const int64_t chunk = decoder_.HeadChunkRows(), end = pack_.num_supervised();
  for (int64_t first = 0; first < end; first += chunk) {
    const int64_t rows = std::min(chunk, end - first);
    AddProduct("head", Random(rows, config.hidden_size), head, Sink(rows, config.vocab_size));
    AddGradient("head", head, rows);
  }
}

}  // namespace lockstep
