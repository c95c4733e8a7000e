// Phi-3, Phi-3.5 and Phi-4: fused qkv_proj and gate_up_proj, RoPE on a part of each head
// (Phi-4-mini), longrope.
#include "nn/family.h"

namespace lockstep::nn {
namespace {

void Read(ConfigReader& reader, ModelConfig& config) {
  ReadSizes(reader,
            {.vocab_size = 32064,
             .hidden_size = 3072,
             .intermediate_size = 8192,
             .num_hidden_layers = 32,
             .num_attention_heads = 32,
             .max_position_embeddings = 4096,
             .rms_norm_eps = 1e-5,
             .pad_token_id = 32000},
            config);
  ReadActivation(reader, "hidden_act", "silu", config);
  ReadRope(reader,
           {.original_max_position_embeddings = 4096, .longrope_aliases = true, .partial = true},
           config);
  config.fused_projections = true;
  config.tie_word_embeddings = reader.Bool("tie_word_embeddings", false);
  const int64_t window = reader.Int("sliding_window", 0);
  for (LayerConfig& layer : config.layers) layer.window = window;
  reader.Want("resid_pdrop", 0.0);
  reader.Want("embd_pdrop", 0.0);
  // Fields of the first files' own code that its later transformers class does not have.
  reader.Want("attention_bias", false);
  reader.Want("full_attn_mod", 1);
  reader.Want("lm_head_bias", false);
  reader.Ignore({"interpolate_factor"});
}

}  // namespace

const Family& Phi3Family() {
  static const auto* family = new Family{"phi3", {"Phi3ForCausalLM"}, Read};
  return *family;
}

}  // namespace lockstep::nn
