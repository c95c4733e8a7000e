// Gemma 2: four norms a layer that multiply by 1 + w, GeGLU, scaled embeddings, soft caps on
// attention scores and logits, every other layer with a window.
#include <cmath>

#include "nn/family.h"

namespace lockstep::nn {
namespace {

void Read(ConfigReader& reader, ModelConfig& config) {
  ReadSizes(reader,
            {.vocab_size = 256000,
             .hidden_size = 2304,
             .intermediate_size = 9216,
             .num_hidden_layers = 26,
             .num_attention_heads = 8,
             .num_key_value_heads = 4,
             .head_dim = 256,
             .max_position_embeddings = 8192,
             .pad_token_id = 0},
            config);
  // hidden_act is an older field that transformers passes over for hidden_activation.
  // So is sliding_window_size for sliding_window.
  reader.Ignore({"hidden_act", "sliding_window_size"});
  ReadActivation(reader, "hidden_activation", "gelu_pytorch_tanh", config);
  ReadRope(reader, {}, config);
  config.qkv_bias = config.o_bias = reader.Bool("attention_bias", false);
  config.tie_word_embeddings = reader.Bool("tie_word_embeddings", true);
  config.norm_adds_one = true;
  config.branch_norms = true;
  // transformers keeps the root in fp32.
  config.embedding_scale = std::sqrt(static_cast<float>(config.hidden_size));
  config.attention_scale = 1 / std::sqrt(reader.Positive("query_pre_attn_scalar", 256));
  const bool none = reader.HasKey("attn_logit_softcapping");
  config.attention_softcap = reader.Positive("attn_logit_softcapping", none ? 0 : 50);
  const bool no_final = reader.HasKey("final_logit_softcapping");
  config.final_softcap = reader.Positive("final_logit_softcapping", no_final ? 0 : 30);
  ReadLayerTypes(
      reader, ReadWindow(reader), [](int64_t layer) { return layer % 2 == 0; }, config);
  reader.Want("use_bidirectional_attention", false);
  reader.Ignore({"cache_implementation"});
}

}  // namespace

const Family& Gemma2Family() {
  static const auto* family = new Family{"gemma2", {"Gemma2ForCausalLM"}, Read};
  return *family;
}

}  // namespace lockstep::nn
