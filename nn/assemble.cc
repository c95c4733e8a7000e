#include "nn/assemble.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/hash.h"
#include "base/status.h"
#include "tensor/kernels/fill.h"

namespace lockstep::nn {
namespace {

using autograd::Variable;

class Assembler {
 public:
  Assembler(const Context& context, const Trainable& trainable, const WeightSource& source,
            FlatParameters& parameters, const AssembleOptions& options)
      : context_(context),
        trainable_(trainable),
        source_(source),
        parameters_(parameters),
        options_(options) {}

  absl::StatusOr<Variable> Table(const std::string& path, int64_t rows, int64_t width) {
    const std::string name = path + ".weight";
    const Slot slot = Place(name, options_.base_dtype, {rows, width});
    RETURN_IF_ERROR(source_.Fill(context_, name, slot.memory));
    return slot.variable;
  }

  // A head tied to the embedding. Trained by itself (modules_to_save) it starts as a copy, as in
  // PEFT; if the embedding is saved whole, the head stays with the frozen base table.
  absl::StatusOr<Variable> TiedHead(const ModelModules& modules, const Variable& embedding,
                                    int64_t rows, int64_t width) {
    const std::string source = modules.embedding + ".weight";
    const bool own_head = parameters_.IndexOf(modules.head.path + ".weight") >= 0;
    const bool own_embedding = parameters_.IndexOf(source) >= 0 && !trainable_.full;
    if (!own_head && !own_embedding) return embedding;
    const Slot slot = Place(modules.head.path + ".weight", options_.base_dtype, {rows, width});
    RETURN_IF_ERROR(source_.Fill(context_, source, slot.memory));
    return slot.variable;
  }

  absl::StatusOr<Variable> Norm(const NormModule& norm) {
    if (norm.path.empty()) return Variable();
    const std::string name = norm.path + ".weight";
    const Slot slot = Place(name, options_.compute_dtype, {norm.width});
    RETURN_IF_ERROR(source_.Fill(context_, name, slot.memory));
    return slot.variable;
  }

  absl::StatusOr<LinearWeights> Linear(const MergedLinear& linear) {
    LinearWeights out;
    RETURN_IF_ERROR(options_.fp8_linear ? QuantizedMatrix(linear, out) : Matrix(linear, out));
    Slot bias;
    if (linear.bias()) {
      bias = Place(linear.path + ".bias", options_.compute_dtype, {linear.out()});
      kernels::Fill(context_.stream, bias.memory.Mutable("bias"), 0.0);
    }
    int64_t row = 0;
    for (const LinearModule& part : linear.parts) {
      if (part.bias) {
        RETURN_IF_ERROR(
            source_.Fill(context_, part.path + ".bias", bias.memory.Slice(0, row, row + part.out)));
      }
      AddAdapter(part, row, out);
      row += part.out;
    }
    out.bias = bias.variable;
    return out;
  }

  std::optional<autograd::LoraAdapter> EmbeddingAdapter(const std::string& path) {
    const auto it = trainable_.targets.find(path);
    if (it == trainable_.targets.end()) return std::nullopt;
    autograd::LoraAdapter adapter;
    adapter.a = Leaf(path + ".lora_embedding_A");
    adapter.b = Leaf(path + ".lora_embedding_B");
    adapter.scale = it->second.scale;
    return adapter;
  }

  void AddAdapter(const LinearModule& part, int64_t row, LinearWeights& out) {
    const auto it = trainable_.targets.find(part.path);
    if (it == trainable_.targets.end()) return;
    autograd::LoraAdapter adapter;
    adapter.a = Leaf(part.path + ".lora_A.weight");
    adapter.b = Leaf(part.path + ".lora_B.weight");
    adapter.scale = it->second.scale;
    adapter.first = row;
    adapter.dropout_key = MixKeys(options_.seed, Hash64(part.path));
    out.adapters.push_back(std::move(adapter));
    if (trainable_.dora) out.magnitudes.push_back(Leaf(part.path + ".lora_magnitude_vector"));
  }

  // Of the parameters since the last call.
  Arrival TakeArrival() {
    const int first = std::exchange(first_, kNone);
    return first == kNone ? Arrival() : Arrival{&parameters_, first};
  }

 private:
  static constexpr int kNone = std::numeric_limits<int>::max();

  // A weight's memory to fill, and the variable that the decoder reads.
  struct Slot {
    Tensor memory;
    Variable variable;
  };

  absl::Status Matrix(const MergedLinear& linear, LinearWeights& out) {
    const Slot weight =
        Place(linear.path + ".weight", options_.base_dtype, {linear.out(), linear.in()});
    int64_t row = 0;
    for (const LinearModule& part : linear.parts) {
      RETURN_IF_ERROR(source_.Fill(context_, part.path + ".weight",
                                   weight.memory.Slice(0, row, row + part.out)));
      row += part.out;
    }
    out.weight = weight.variable;
    return absl::OkStatus();
  }

  // Each part is quantized on the device as it arrives, by way of memory of its own.
  absl::Status QuantizedMatrix(const MergedLinear& linear, LinearWeights& out) {
    out.image = autograd::Fp8Image::Empty(context_, linear.out(), linear.in());
    int64_t row = 0;
    for (const LinearModule& part : linear.parts) {
      const Tensor arrived =
          Tensor::Empty(*context_.allocator, options_.base_dtype, {part.out, part.in});
      RETURN_IF_ERROR(source_.Fill(context_, part.path + ".weight", arrived));
      out.image.SetRows(context_, row, arrived);
      row += part.out;
    }
    out.image.Finish(context_);
    out.weight = Variable::Frozen(out.image.codes);
    return absl::OkStatus();
  }

  Variable Leaf(const std::string& name) { return parameters_.leaf(Take(name)); }

  // -1 if it is no parameter.
  int Take(const std::string& name) {
    const int index = parameters_.IndexOf(name);
    if (index >= 0) first_ = std::min(first_, index);
    return index;
  }

  Slot Place(const std::string& name, DType dtype, std::initializer_list<int64_t> shape) {
    if (const int index = Take(name); index >= 0) {
      return {parameters_.Part(parameters_.values(), index), parameters_.leaf(index)};
    }
    const Tensor memory = Tensor::Empty(*context_.allocator, dtype, shape);
    return {memory, Variable::Frozen(memory)};
  }

  const Context& context_;
  const Trainable& trainable_;
  const WeightSource& source_;
  FlatParameters& parameters_;
  const AssembleOptions& options_;
  int first_ = kNone;
};

}  // namespace

absl::StatusOr<DecoderWeights> Assemble(const Context& context, const ModelConfig& config,
                                        const ModelModules& modules, const Trainable& trainable,
                                        const WeightSource& source, FlatParameters& parameters,
                                        const AssembleOptions& options) {
  Assembler assembler(context, trainable, source, parameters, options);
  const int64_t vocab = config.vocab_size, width = config.hidden_size;
  DecoderWeights out;
  ASSIGN_OR_RETURN(out.embedding, assembler.Table(modules.embedding, vocab, width));
  out.embedding_lora = assembler.EmbeddingAdapter(modules.embedding);
  out.embedding_arrival = assembler.TakeArrival();
  for (const LayerModules& module : modules.layers) {
    LayerWeights layer;
    ASSIGN_OR_RETURN(layer.input_norm, assembler.Norm(module.input_norm));
    ASSIGN_OR_RETURN(layer.qkv, assembler.Linear(module.qkv));
    ASSIGN_OR_RETURN(layer.q_norm, assembler.Norm(module.q_norm));
    ASSIGN_OR_RETURN(layer.k_norm, assembler.Norm(module.k_norm));
    ASSIGN_OR_RETURN(layer.o, assembler.Linear(module.o));
    ASSIGN_OR_RETURN(layer.post_attention_norm, assembler.Norm(module.post_attention_norm));
    ASSIGN_OR_RETURN(layer.pre_mlp_norm, assembler.Norm(module.pre_mlp_norm));
    ASSIGN_OR_RETURN(layer.gate_up, assembler.Linear(module.gate_up));
    ASSIGN_OR_RETURN(layer.down, assembler.Linear(module.down));
    ASSIGN_OR_RETURN(layer.post_mlp_norm, assembler.Norm(module.post_mlp_norm));
    layer.arrival = assembler.TakeArrival();
    out.layers.push_back(std::move(layer));
  }
  ASSIGN_OR_RETURN(out.norm, assembler.Norm(modules.norm));
  if (!config.tie_word_embeddings) {
    ASSIGN_OR_RETURN(out.head.weight, assembler.Table(modules.head.path, vocab, width));
  } else {
    ASSIGN_OR_RETURN(out.head.weight, assembler.TiedHead(modules, out.embedding, vocab, width));
  }
  assembler.AddAdapter(modules.head, 0, out.head);
  out.head_arrival = assembler.TakeArrival();
  parameters.RefreshImage(context);
  return out;
}

}  // namespace lockstep::nn
