// Mistral (7B, Nemo, Small): Llama with a sliding window in all layers, or none.
#include "nn/family.h"

namespace lockstep::nn {
namespace {

void Read(ConfigReader& reader, ModelConfig& config) {
  ReadSizes(reader,
            {.vocab_size = 32000,
             .hidden_size = 4096,
             .intermediate_size = 14336,
             .num_hidden_layers = 32,
             .num_attention_heads = 32,
             .num_key_value_heads = 8,
             .max_position_embeddings = 131072},
            config);
  ReadActivation(reader, "hidden_act", "silu", config);
  ReadRope(reader, {}, config);
  config.tie_word_embeddings = reader.Bool("tie_word_embeddings", false);
  const int64_t window = ReadWindow(reader);
  for (LayerConfig& layer : config.layers) layer.window = window;
}

}  // namespace

const Family& MistralFamily() {
  static const auto* family = new Family{"mistral", {"MistralForCausalLM"}, Read};
  return *family;
}

}  // namespace lockstep::nn
