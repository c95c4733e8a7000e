// Gemma 3: Gemma 2 with norms of q and k instead of soft caps, and five local layers for each
// global one, with a RoPE of their own. `gemma3` is the multimodal file, whose text part is taken.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "nn/family.h"

namespace lockstep::nn {
namespace {

enum { kGlobalRope, kLocalRope };

// rope_parameters {full_attention: {…}, sliding_attention: {…}}, or the older fields rope_theta and
// rope_scaling for global layers and rope_local_base_freq for local ones.
void ReadRopes(ConfigReader& reader, ModelConfig& config) {
  static const auto* const kEmpty = new nlohmann::json(nlohmann::json::object());
  const nlohmann::json* parameters = reader.Object("rope_parameters");
  const nlohmann::json* scaling = reader.Object("rope_scaling");
  const RopeDefaults global{.theta = reader.Positive("rope_theta", 1e6)};
  const RopeDefaults local{.theta = reader.Positive("rope_local_base_freq", 1e4)};

  const auto read = [&](const char* layers, const RopeDefaults& defaults, bool scaled) {
    ConfigReader outer(reader.where(), parameters ? *parameters : *kEmpty,
                       reader.path() + "rope_parameters.");
    const nlohmann::json* object = outer.Object(layers);
    // transformers lays rope_scaling over the global layers' object.
    nlohmann::json merged = object != nullptr ? *object : *kEmpty;
    if (scaled && scaling != nullptr) {
      if (scaling->value("type", nlohmann::json("default")) != "default" &&
          !scaling->contains("rope_type")) {
        reader.Problem("rope_scaling.type",
                       "transformers 4 obeys it in gemma3, 5 does not: write rope_type");
      }
      merged.update(*scaling);
    }
    ConfigReader nested(reader.where(), merged, reader.path() + "rope_parameters." + layers + ".");
    RopeConfig rope = ReadRopeObject(nested, defaults, config);
    // transformers looks for it beside the kinds of layers, not in them.
    if (!rope.truncate) {
      config.warnings.push_back(absl::StrCat(nested.path(), "truncate has no effect in gemma3"));
      rope.truncate = true;
    }
    config.ropes.push_back(rope);
    outer.Ignore({"full_attention", "sliding_attention"});
    outer.RefuseUnknown();
    if (scaled) reader.Append(outer);
    reader.Append(nested);
  };
  read("full_attention", global, true);
  read("sliding_attention", local, false);
}

void Read(ConfigReader& reader, ModelConfig& config) {
  ReadSizes(reader,
            {.vocab_size = 262208,
             .hidden_size = 2304,
             .intermediate_size = 9216,
             .num_hidden_layers = 26,
             .num_attention_heads = 8,
             .num_key_value_heads = 4,
             .head_dim = 256,
             .max_position_embeddings = 131072,
             .pad_token_id = 0},
            config);
  ReadActivation(reader, "hidden_activation", "gelu_pytorch_tanh", config);
  ReadRopes(reader, config);
  config.qkv_bias = config.o_bias = reader.Bool("attention_bias", false);
  config.tie_word_embeddings = reader.Bool("tie_word_embeddings", true);
  config.norm_adds_one = true;
  config.branch_norms = true;
  config.qk_norm = true;
  config.embedding_scale = std::sqrt(static_cast<float>(config.hidden_size));
  config.attention_scale = 1 / std::sqrt(reader.Positive("query_pre_attn_scalar", 256));
  // A field that transformers reads and then does not apply in this family.
  if (reader.Positive("attn_logit_softcapping", 0) > 0) {
    config.warnings.push_back("attn_logit_softcapping has no effect in gemma3");
  }
  config.final_softcap = reader.Positive("final_logit_softcapping", 0);
  const int64_t pattern = reader.Int("sliding_window_pattern", 6);
  ReadLayerTypes(
      reader, ReadWindow(reader), [&](int64_t layer) { return (layer + 1) % pattern != 0; },
      config);
  for (LayerConfig& layer : config.layers) layer.rope = layer.window > 0 ? kLocalRope : kGlobalRope;
  reader.Want("use_bidirectional_attention", false);
  reader.Ignore({"cache_implementation"});
}

void ReadMultimodal(ConfigReader& reader, ModelConfig& config) {
  static const auto* const kEmpty = new nlohmann::json(nlohmann::json::object());
  const nlohmann::json* text = reader.Object("text_config");
  ConfigReader nested(reader.where(), text != nullptr ? *text : *kEmpty,
                      reader.path() + "text_config.");
  Read(nested, config);
  nested.RefuseUnknown();
  reader.Append(nested);
  config.tie_word_embeddings = reader.Bool("tie_word_embeddings", true);
  // As in transformers, where the multimodal class computes its own logits.
  if (config.final_softcap > 0) {
    config.warnings.push_back("text_config.final_logit_softcapping has no effect in gemma3");
    config.final_softcap = 0;
  }
  config.nested_text = true;
  config.foreign_prefixes = {"vision_tower.", "multi_modal_projector.", "model.vision_tower.",
                             "model.multi_modal_projector."};
  reader.Want("quantization_config", nullptr, "use the model's 16-bit files");
  reader.Ignore({"vision_config", "mm_tokens_per_image", "boi_token_index", "eoi_token_index",
                 "image_token_index", "boi_token_id", "eoi_token_id", "image_token_id"});
}

}  // namespace

const Family& Gemma3TextFamily() {
  static const auto* family = new Family{"gemma3_text", {"Gemma3ForCausalLM"}, Read};
  return *family;
}

const Family& Gemma3Family() {
  static const auto* family =
      new Family{"gemma3", {"Gemma3ForConditionalGeneration"}, ReadMultimodal};
  return *family;
}

}  // namespace lockstep::nn
