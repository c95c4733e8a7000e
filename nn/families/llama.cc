// Llama (1 to 3.3) and the many models that call themselves so: SmolLM2, TinyLlama, DeepSeek's
// distillations, …
#include "nn/family.h"

namespace lockstep::nn {
namespace {

void Read(ConfigReader& reader, ModelConfig& config) {
  ReadSizes(reader,
            {.vocab_size = 32000,
             .hidden_size = 4096,
             .intermediate_size = 11008,
             .num_hidden_layers = 32,
             .num_attention_heads = 32,
             .max_position_embeddings = 2048},
            config);
  ReadActivation(reader, "hidden_act", "silu", config);
  reader.Want("activation", "swiglu");  // Falcon3's files say it beside hidden_act
  ReadRope(reader, {}, config);
  config.qkv_bias = config.o_bias = reader.Bool("attention_bias", false);
  config.mlp_bias = reader.Bool("mlp_bias", false);
  config.tie_word_embeddings = reader.Bool("tie_word_embeddings", false);
}

}  // namespace

const Family& LlamaFamily() {
  static const auto* family = new Family{"llama", {"LlamaForCausalLM"}, Read};
  return *family;
}

}  // namespace lockstep::nn
