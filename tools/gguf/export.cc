#include "tools/gguf/export.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"
#include "nn/config.h"
#include "nn/modules.h"
#include "nn/rope.h"
#include "nn/weights.h"
#include "tools/gguf/size_label.h"
#include "tools/gguf/vocabulary.h"

namespace lockstep {
namespace {

constexpr int64_t kBlock = int64_t{1} << 22;  // elements of a tensor in memory at a time

// general.file_type and general.quantization_version, as ggml counts them.
uint32_t FileType(GgufType type) {
  switch (type) {
    case GgufType::kF32:
      return 0;
    case GgufType::kF16:
      return 1;
    case GgufType::kQ8_0:
      return 7;
    case GgufType::kBF16:
      return 32;
  }
  return 0;
}
constexpr uint32_t kQuantizationVersion = 2;

absl::StatusOr<std::string> Architecture(const nn::ModelConfig& config, const std::string& folder) {
  const std::string where = JoinPath(folder, "config.json");
  const std::string& type = config.model_type;
  if (type != "llama" && type != "mistral" && type != "qwen2" && type != "qwen3") {
    return UserError(where,
                     absl::StrCat("model_type: want llama, mistral, qwen2 or qwen3, got ", type),
                     "merge writes a folder of any family, which llama.cpp's own converter reads");
  }
  if (config.activation != nn::Activation::kSilu) {
    return UserError(where, "hidden_act: want silu, which llama.cpp computes here, got GELU",
                     "merge writes a Hugging Face folder, which transformers reads");
  }
  for (const nn::LayerConfig& layer : config.layers) {
    if (layer.window > 0 && layer.window < config.max_position_embeddings) {
      return UserError(where, "sliding_window: llama.cpp would attend to everything",
                       "set max_position_embeddings to the window if that is long enough");
    }
  }
  const nn::RopeConfig& rope = config.ropes[0];
  using Kind = nn::RopeConfig::Kind;
  if (rope.kind != Kind::kDefault && rope.kind != Kind::kLinear && rope.kind != Kind::kLlama3) {
    return UserError(where, "only RoPE of the types default, linear and llama3 is written");
  }
  return type == "mistral" ? "llama" : type;
}

// A tensor's name there: "model.layers.3.self_attn.q_proj.weight" is "blk.3.attn_q.weight".
std::string GgufName(const std::string& name) {
  static constexpr std::pair<absl::string_view, absl::string_view> kNames[] = {
      {"model.embed_tokens", "token_embd"},
      {"model.norm", "output_norm"},
      {"lm_head", "output"},
      {"input_layernorm", "attn_norm"},
      {"self_attn.q_proj", "attn_q"},
      {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},
      {"self_attn.o_proj", "attn_output"},
      {"self_attn.q_norm", "attn_q_norm"},
      {"self_attn.k_norm", "attn_k_norm"},
      {"post_attention_layernorm", "ffn_norm"},
      {"mlp.gate_proj", "ffn_gate"},
      {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"},
  };
  absl::string_view rest = name;
  std::string prefix;
  if (absl::ConsumePrefix(&rest, "model.layers.")) {
    const size_t dot = rest.find('.');
    prefix = absl::StrCat("blk.", rest.substr(0, dot), ".");
    rest.remove_prefix(dot + 1);
  }
  const size_t dot = rest.rfind('.');
  for (const auto& [ours, theirs] : kNames) {
    if (rest.substr(0, dot) == ours) return absl::StrCat(prefix, theirs, rest.substr(dot));
  }
  return name;
}

// One head of q or k, `width` values a row: row 2i there is row i here, row 2i + 1 is row D/2 + i.
void PairHalves(std::vector<float>& head, int64_t head_dim, int64_t width) {
  std::vector<float> out(head.size());
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    std::copy_n(head.begin() + i * width, width, out.begin() + 2 * i * width);
    std::copy_n(head.begin() + (head_dim / 2 + i) * width, width,
                out.begin() + (2 * i + 1) * width);
  }
  head = std::move(out);
}

class Exporter {
 public:
  Exporter(const std::string& folder, const std::string& name, const std::string& output,
           GgufType type)
      : folder_(folder), name_(name), writer_(output), type_(type) {}

  absl::StatusOr<ExportReport> Run() {
    ASSIGN_OR_RETURN(config_, nn::ReadModelConfig(folder_));
    ASSIGN_OR_RETURN(architecture_, Architecture(config_, folder_));
    ASSIGN_OR_RETURN(nn::WeightFiles files, nn::WeightFiles::Open(folder_, config_));
    files_ = std::make_unique<nn::WeightFiles>(std::move(files));
    specs_ = nn::WeightsOf(config_, nn::ModulesOf(config_));
    RETURN_IF_ERROR(files_->Check(specs_, config_, &report_.warnings));
    SetConfig();
    RETURN_IF_ERROR(SetVocabulary(folder_, config_, writer_, &report_.warnings));
    RETURN_IF_ERROR(Declare());
    RETURN_IF_ERROR(writer_.Begin());
    if (!rope_factors_.empty()) RETURN_IF_ERROR(writer_.Append(rope_factors_));
    for (const nn::WeightSpec& spec : specs_) RETURN_IF_ERROR(WriteTensor(spec));
    RETURN_IF_ERROR(writer_.Finish());
    return report_;
  }

 private:
  void SetConfig() {
    const auto set = [this](const char* key, int64_t value) {
      writer_.Set(absl::StrCat(architecture_, ".", key), static_cast<uint32_t>(value));
    };
    writer_.Set("general.architecture", architecture_);
    writer_.Set("general.type", "model");
    writer_.Set("general.name", name_);
    writer_.Set("general.file_type", FileType(type_));
    writer_.Set("general.quantization_version", kQuantizationVersion);
    set("block_count", config_.num_layers());
    set("context_length", config_.max_position_embeddings);
    set("embedding_length", config_.hidden_size);
    set("feed_forward_length", config_.intermediate_size);
    set("attention.head_count", config_.num_heads);
    set("attention.head_count_kv", config_.num_kv_heads);
    set("attention.key_length", config_.head_dim);
    set("attention.value_length", config_.head_dim);
    set("rope.dimension_count", config_.ropes[0].rotary_dim);
    set("vocab_size", config_.vocab_size);
    writer_.Set(absl::StrCat(architecture_, ".attention.layer_norm_rms_epsilon"),
                static_cast<float>(config_.rms_norm_eps));
    SetRope();
  }

  void SetRope() {
    const nn::RopeConfig& rope = config_.ropes[0];
    const std::string prefix = absl::StrCat(architecture_, ".rope.");
    writer_.Set(prefix + "freq_base", static_cast<float>(rope.theta));
    if (rope.kind == nn::RopeConfig::Kind::kLinear) {
      writer_.Set(prefix + "scaling.type", "linear");
      writer_.Set(prefix + "scaling.factor", static_cast<float>(rope.factor));
    }
    if (rope.kind != nn::RopeConfig::Kind::kLlama3) return;
    // Frequencies are divided by these.
    nn::RopeConfig plain = rope;
    plain.kind = nn::RopeConfig::Kind::kDefault;
    const std::vector<float> base = nn::InverseFrequencies(plain, 0);
    const std::vector<float> scaled = nn::InverseFrequencies(rope, 0);
    for (size_t i = 0; i < base.size(); ++i) rope_factors_.push_back(base[i] / scaled[i]);
  }

  GgufType TypeOf(const nn::WeightSpec& spec) const {
    return spec.shape.size() == 1 ? GgufType::kF32 : type_;
  }

  absl::Status Declare() {
    int64_t num_weights = 0;
    const auto count = [&](GgufType type, int64_t numel) {
      num_weights += numel;
      ++report_.tensors;
      report_.bytes += GgufBytes(type, numel);
    };
    if (!rope_factors_.empty()) {
      const int64_t size = static_cast<int64_t>(rope_factors_.size());
      writer_.Declare("rope_freqs.weight", GgufType::kF32, {size});
      count(GgufType::kF32, size);
    }
    for (const nn::WeightSpec& spec : specs_) {
      const GgufType type = TypeOf(spec);
      if (type == GgufType::kQ8_0 && spec.shape.back() % kQ8Block != 0) {
        return UserError("--type",
                         absl::StrCat("q8_0 wants rows of a multiple of ", kQ8Block, " values, ",
                                      spec.name, " has ", spec.shape.back()),
                         "--type=f16");
      }
      writer_.Declare(GgufName(spec.name), type, spec.shape);
      int64_t numel = 1;
      for (const int64_t size : spec.shape) numel *= size;
      count(type, numel);
    }
    writer_.Set("general.size_label", SizeLabel(num_weights));
    return absl::OkStatus();
  }

  absl::Status WriteTensor(const nn::WeightSpec& spec) {
    const nn::WeightFiles::Entry& entry = *files_->Find(spec.name);
    const int64_t rows = spec.shape[0];
    const int64_t width = entry.tensor->numel() / rows;
    const bool rotated = architecture_ == "llama" && (absl::StrContains(spec.name, "q_proj.") ||
                                                      absl::StrContains(spec.name, "k_proj."));
    const int64_t step = rotated ? config_.head_dim : std::max<int64_t>(1, kBlock / width);
    for (int64_t begin = 0; begin < rows; begin += step) {
      const int64_t end = std::min(begin + step, rows);
      std::vector<float> values((end - begin) * width);
      RETURN_IF_ERROR(
          entry.file->Read(*entry.tensor, begin * width, end * width, DType::kF32, values.data()));
      if (rotated) PairHalves(values, config_.head_dim, width);
      RETURN_IF_ERROR(writer_.Append(values));
    }
    return absl::OkStatus();
  }

  const std::string& folder_;
  const std::string& name_;
  GgufWriter writer_;
  const GgufType type_;
  nn::ModelConfig config_;
  std::string architecture_;
  std::unique_ptr<nn::WeightFiles> files_;
  std::vector<nn::WeightSpec> specs_;
  std::vector<float> rope_factors_;
  ExportReport report_;
};

}  // namespace

absl::StatusOr<ExportReport> ExportGguf(const std::string& folder, const std::string& name,
                                        const std::string& output, GgufType type) {
  return Exporter(folder, name, output, type).Run();
}

}  // namespace lockstep
