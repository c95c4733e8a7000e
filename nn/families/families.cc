// The list of families, and what they share.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "nn/family.h"

namespace lockstep::nn {
namespace {

const std::vector<const Family*>& AllFamilies() {
  static const auto* families = new std::vector<const Family*>{
      &LlamaFamily(), &MistralFamily(), &Qwen2Family(),      &Qwen3Family(),
      &Phi3Family(),  &Gemma2Family(),  &Gemma3TextFamily(), &Gemma3Family()};
  return *families;
}

RopeConfig::Kind ReadKind(ConfigReader& reader, bool longrope_aliases) {
  using Kind = RopeConfig::Kind;
  std::string type = reader.String("type", "default");  // the older name
  type = reader.String("rope_type", type);
  if (longrope_aliases && (type == "su" || type == "yarn")) type = "longrope";
  if (type == "default") return Kind::kDefault;
  if (type == "linear") return Kind::kLinear;
  if (type == "dynamic") return Kind::kDynamic;
  if (type == "llama3") return Kind::kLlama3;
  if (type == "yarn") return Kind::kYarn;
  if (type == "longrope") return Kind::kLongRope;
  reader.Problem("rope_type",
                 absl::StrCat("want default, linear, dynamic, llama3, yarn or longrope; \"", type,
                              "\" is not supported"));
  return Kind::kDefault;
}

void ReadLongRope(ConfigReader& reader, const ModelConfig& config, RopeConfig& rope) {
  rope.short_factor = reader.Numbers("short_factor");
  rope.long_factor = reader.Numbers("long_factor");
  for (const char* name : {"short_factor", "long_factor"}) {
    const auto& factors = name[0] == 's' ? rope.short_factor : rope.long_factor;
    if (static_cast<int64_t>(factors.size()) != rope.rotary_dim / 2) {
      reader.Problem(name,
                     absl::StrCat("want ", rope.rotary_dim / 2, " numbers, got ", factors.size()));
    }
    for (const double f : factors) {
      if (f <= 0) reader.Problem(name, absl::StrCat("want numbers above 0, got ", f));
    }
  }
  const double original = static_cast<double>(rope.original_max_position_embeddings);
  const double ratio = static_cast<double>(config.max_position_embeddings) / original;
  const double factor = reader.Positive("factor", ratio);
  const double inferred = factor <= 1 ? 1 : std::sqrt(1 + std::log(factor) / std::log(original));
  rope.attention_factor = reader.Positive("attention_factor", inferred);
}

void ReadYarn(ConfigReader& reader, RopeConfig& rope) {
  rope.beta_fast = reader.Positive("beta_fast", 32);
  rope.beta_slow = reader.Positive("beta_slow", 1);
  rope.truncate = reader.Bool("truncate", true);
  const auto magnitude = [&](double weight) {
    return rope.factor <= 1 ? 1 : 0.1 * weight * std::log(rope.factor) + 1;
  };
  const double mscale = reader.Number("mscale", 0), all = reader.Number("mscale_all_dim", 0);
  const double inferred =
      mscale != 0 && all != 0 ? magnitude(mscale) / magnitude(all) : magnitude(1);
  rope.attention_factor = reader.Positive("attention_factor", inferred);
  reader.Ignore({"finetuned"});  // the first YaRN files'
}

}  // namespace

const Family* FindFamily(absl::string_view model_type) {
  for (const Family* family : AllFamilies()) {
    if (model_type == family->model_type) return family;
  }
  return nullptr;
}

std::vector<std::string> FamilyNames() {
  std::vector<std::string> names;
  for (const Family* family : AllFamilies()) names.push_back(family->model_type);
  return names;
}

void ReadSizes(ConfigReader& reader, const DefaultSizes& defaults, ModelConfig& config) {
  config.vocab_size = reader.Int("vocab_size", defaults.vocab_size);
  config.hidden_size = reader.Int("hidden_size", defaults.hidden_size);
  config.intermediate_size = reader.Int("intermediate_size", defaults.intermediate_size);
  config.num_heads = reader.Int("num_attention_heads", defaults.num_attention_heads);
  const int64_t kv = defaults.num_key_value_heads;
  const bool null_kv = reader.HasKey("num_key_value_heads") && !reader.Has("num_key_value_heads");
  config.num_kv_heads =
      reader.Int("num_key_value_heads", kv == 0 || null_kv ? config.num_heads : kv);
  const int64_t quotient = std::max<int64_t>(1, config.hidden_size / config.num_heads);
  config.head_dim = reader.Int("head_dim", defaults.head_dim > 0 ? defaults.head_dim : quotient);
  config.max_position_embeddings =
      reader.Int("max_position_embeddings", defaults.max_position_embeddings);
  config.rms_norm_eps = reader.Positive("rms_norm_eps", defaults.rms_norm_eps);
  config.initializer_range = reader.Number("initializer_range", 0.02);
  config.attention_scale = 1 / std::sqrt(static_cast<double>(config.head_dim));

  const int64_t layers = reader.Int("num_hidden_layers", defaults.num_hidden_layers);
  if (layers > 4096) {
    reader.Problem("num_hidden_layers", absl::StrCat("want at most 4096, got ", layers));
  } else {
    config.layers.assign(layers, LayerConfig{});
  }
  if (config.num_heads % config.num_kv_heads != 0) {
    reader.Problem("num_key_value_heads",
                   absl::StrCat("want a divisor of num_attention_heads = ", config.num_heads,
                                ", got ", config.num_kv_heads));
  }
  if (config.head_dim % 2 != 0 || config.head_dim > 1024) {
    reader.Problem("head_dim",
                   absl::StrCat("want an even number up to 1024, got ", config.head_dim));
  }
  if (reader.Has("pad_token_id")) {
    const int64_t pad = reader.Int("pad_token_id", 0, /*least=*/-1);
    config.pad_token_id = pad < 0 ? config.vocab_size - 1 : pad;
  } else if (!reader.HasKey("pad_token_id")) {
    config.pad_token_id = defaults.pad_token_id;
  }
  reader.Want("attention_dropout", 0.0);
  // transformers makes an encoder of everything else that stands here, null among it.
  if (reader.HasKey("is_causal") && !reader.Bool("is_causal", false)) {
    reader.Problem("is_causal", "want true: tokens that see those behind them are not supported");
  }
  reader.Want("quantization_config", nullptr, "use the model's 16-bit files");
  reader.Ignore({"pretraining_tp"});
}

void ReadActivation(ConfigReader& reader, const char* field, const char* missing,
                    ModelConfig& config) {
  const std::string name = reader.String(field, missing);
  if (name == "silu" || name == "swish") {
    config.activation = Activation::kSilu;
  } else if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast" ||
             name == "gelu_accurate" || name == "gelu_python_tanh") {  // one function, five codes
    config.activation = Activation::kGeluTanh;
  } else {
    reader.Problem(field,
                   absl::StrCat("want silu or gelu_pytorch_tanh; \"", name, "\" is not supported"));
  }
}

RopeConfig ReadRopeObject(ConfigReader& reader, const RopeDefaults& defaults,
                          const ModelConfig& config) {
  using Kind = RopeConfig::Kind;
  RopeConfig rope;
  rope.kind = ReadKind(reader, defaults.longrope_aliases);
  rope.theta = reader.Positive("rope_theta", defaults.theta);
  rope.max_position_embeddings = config.max_position_embeddings;
  const double share = reader.Positive("partial_rotary_factor", defaults.partial_rotary_factor);
  if (share > 1 || (share < 1 && !defaults.partial)) {
    reader.Problem("partial_rotary_factor", absl::StrCat("want 1, got ", share));
  }
  rope.rotary_dim =
      static_cast<int64_t>(static_cast<double>(config.head_dim) * std::min(share, 1.0));
  if (rope.rotary_dim % 2 != 0 || rope.rotary_dim < 2) {
    reader.Problem("partial_rotary_factor", absl::StrCat("rotates ", rope.rotary_dim,
                                                         " channels of a head, want an even "
                                                         "number"));
  }
  const int64_t original =
      reader.Int("original_max_position_embeddings", config.max_position_embeddings);
  rope.original_max_position_embeddings = defaults.original_max_position_embeddings > 0
                                              ? defaults.original_max_position_embeddings
                                              : original;
  if (rope.kind == Kind::kLongRope) {
    ReadLongRope(reader, config, rope);
  } else if (rope.kind != Kind::kDefault) {
    // YaRN's may be null: then it is how much longer documents have become.
    const bool may_be_null = rope.kind == Kind::kYarn && reader.HasKey("factor");
    if (!reader.Has("factor") && !may_be_null) reader.Problem("factor", "missing");
    const double ratio = static_cast<double>(config.max_position_embeddings) /
                         static_cast<double>(rope.original_max_position_embeddings);
    rope.factor = reader.Positive("factor", ratio);
  }
  if (rope.kind == Kind::kYarn) ReadYarn(reader, rope);
  if (rope.kind == Kind::kLlama3) {
    for (const char* name : {"low_freq_factor", "high_freq_factor"}) {
      if (!reader.Has(name)) reader.Problem(name, "missing");
    }
    rope.low_freq_factor = reader.Positive("low_freq_factor", 1.0);
    rope.high_freq_factor = reader.Positive("high_freq_factor", 4.0);
    if (rope.high_freq_factor <= rope.low_freq_factor) {
      reader.Problem("high_freq_factor", "want more than low_freq_factor");
    }
  }
  // What other kinds use and this one does not; transformers passes over it as well.
  reader.Ignore({"factor", "low_freq_factor", "high_freq_factor", "short_factor", "long_factor"});
  if (rope.kind != Kind::kLongRope && rope.kind != Kind::kYarn) {
    reader.Want("attention_factor", 1.0);
  }
  reader.RefuseUnknown();
  return rope;
}

void ReadRope(ConfigReader& reader, RopeDefaults defaults, ModelConfig& config) {
  defaults.theta = reader.Positive("rope_theta", defaults.theta);
  defaults.partial_rotary_factor =
      reader.Positive("partial_rotary_factor", defaults.partial_rotary_factor);
  defaults.original_max_position_embeddings =
      reader.Int("original_max_position_embeddings", defaults.original_max_position_embeddings);
  // An older file's rope_scaling beats the newer spelling where both are there.
  const nlohmann::json* scaling = reader.Object("rope_scaling");
  const nlohmann::json* parameters = reader.Object("rope_parameters");
  const bool older = scaling != nullptr && !scaling->empty();
  static const nlohmann::json* const kEmpty = new nlohmann::json(nlohmann::json::object());
  const nlohmann::json& object = older ? *scaling : parameters != nullptr ? *parameters : *kEmpty;
  ConfigReader nested(reader.where(), object,
                      reader.path() + (older ? "rope_scaling." : "rope_parameters."));
  config.ropes = {ReadRopeObject(nested, defaults, config)};
  reader.Append(nested);
}

int64_t ReadWindow(ConfigReader& reader) {
  return reader.Int("sliding_window", reader.HasKey("sliding_window") ? 0 : 4096);
}

void ReadLayerTypes(ConfigReader& reader, int64_t window,
                    absl::FunctionRef<bool(int64_t layer)> slides, ModelConfig& config) {
  const std::vector<std::string> types = reader.Strings("layer_types");
  if (!types.empty() && types.size() != config.layers.size()) {
    reader.Problem("layer_types",
                   absl::StrCat("want ", config.layers.size(), " entries, got ", types.size()));
    return;
  }
  for (size_t i = 0; i < config.layers.size(); ++i) {
    bool with_window = slides(static_cast<int64_t>(i));
    if (!types.empty()) {
      with_window = types[i] == "sliding_attention";
      if (!with_window && types[i] != "full_attention") {
        reader.Problem("layer_types",
                       absl::StrCat("\"", types[i], "\" in layer ", i, " is not supported"));
      }
    }
    if (with_window && window == 0) {
      reader.Problem("sliding_window", absl::StrCat("missing, but layer ", i, " slides"));
      return;
    }
    config.layers[i].window = with_window ? window : 0;
  }
}

void ReadQwenWindows(ConfigReader& reader, ModelConfig& config) {
  const int64_t window = reader.Bool("use_sliding_window", false) ? ReadWindow(reader) : 0;
  const int64_t first = reader.Int("max_window_layers", 28, /*least=*/0);
  reader.Ignore({"sliding_window"});  // where it is not used
  ReadLayerTypes(
      reader, window, [&](int64_t layer) { return window > 0 && layer >= first; }, config);
}

}  // namespace lockstep::nn
