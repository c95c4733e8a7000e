// Qwen3: RMSNorm of every head of q and k before RoPE, a head size of its own, no biases by
// default.
#include "nn/family.h"

namespace lockstep::nn {
namespace {

void Read(ConfigReader& reader, ModelConfig& config) {
  ReadSizes(reader,
            {.vocab_size = 151936,
             .hidden_size = 4096,
             .intermediate_size = 22016,
             .num_hidden_layers = 32,
             .num_attention_heads = 32,
             .num_key_value_heads = 32,
             .head_dim = 128,
             .max_position_embeddings = 32768},
            config);
  ReadActivation(reader, "hidden_act", "silu", config);
  ReadRope(reader, {}, config);
  config.qkv_bias = config.o_bias = reader.Bool("attention_bias", false);
  config.qk_norm = true;
  config.tie_word_embeddings = reader.Bool("tie_word_embeddings", false);
  ReadQwenWindows(reader, config);
}

}  // namespace

const Family& Qwen3Family() {
  static const auto* family = new Family{"qwen3", {"Qwen3ForCausalLM"}, Read};
  return *family;
}

}  // namespace lockstep::nn
