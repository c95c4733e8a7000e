// Qwen2 and Qwen2.5: Llama with biases on q, k and v, which no field names; windows from
// max_window_layers upwards if use_sliding_window.
#include "nn/family.h"

namespace lockstep::nn {
namespace {

bool Slides(int64_t layer, int64_t max_window_layers) { return layer >= max_window_layers; }

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
  const bool use = reader.Bool("use_sliding_window", false);
  const int64_t missing = reader.HasKey("sliding_window") ? 0 : 4096;
  const int64_t window = use ? reader.Int("sliding_window", missing) : 0;
  const int64_t first = reader.Int("max_window_layers", 28, /*least=*/0);
  reader.Ignore({"sliding_window", "use_mrope"});
  ReadLayerTypes(reader, window, Slides, window > 0 ? first : config.num_layers(), config);
}

}  // namespace

const Family& Qwen2Family() {
  static const auto* family = new Family{"qwen2", {"Qwen2ForCausalLM"}, Read};
  return *family;
}

}  // namespace lockstep::nn
