// Qwen2 and Qwen2.5: Llama with biases on q, k and v, which no field names; windows from
// max_window_layers upwards if use_sliding_window.
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
             .max_position_embeddings = 32768},
            config);
  ReadActivation(reader, "hidden_act", "silu", config);
  ReadRope(reader, {}, config);
  config.qkv_bias = true;
  config.tie_word_embeddings = reader.Bool("tie_word_embeddings", false);
  ReadQwenWindows(reader, config);
  reader.Ignore({"use_mrope"});
}

}  // namespace

const Family& Qwen2Family() {
  static const auto* family = new Family{"qwen2", {"Qwen2ForCausalLM"}, Read};
  return *family;
}

}  // namespace lockstep::nn
