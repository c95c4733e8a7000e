#include "tools/bench_shapes.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "nn/modules.h"

namespace lockstep {
namespace {

struct Shape {
  const char* name;
  int hidden, intermediate, layers, heads, kv_heads, vocab;
  bool tied;
};
constexpr Shape kShapes[] = {
    {"135m", 576, 1536, 30, 9, 3, 49152, true},
    {"1b", 2048, 8192, 16, 32, 8, 128256, true},
    {"8b", 4096, 14336, 32, 32, 8, 128256, false},
};

}  // namespace

absl::StatusOr<std::string> ShapeConfig(absl::string_view name) {
  for (const Shape& s : kShapes) {
    if (name != s.name) continue;
    return absl::StrFormat(
        R"({"model_type": "llama", "hidden_size": %d, "intermediate_size": %d,
            "num_hidden_layers": %d, "num_attention_heads": %d, "num_key_value_heads": %d,
            "vocab_size": %d, "tie_word_embeddings": %s, "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "hidden_act": "silu"})",
        s.hidden, s.intermediate, s.layers, s.heads, s.kv_heads, s.vocab,
        s.tied ? "true" : "false");
  }
  return UserError("--shape", absl::StrCat("want one of 135m, 1b, 8b; got \"", name, "\""));
}

double StepFlops(const nn::ModelConfig& config, int64_t lora_weights, int64_t documents,
                 int64_t length) {
  const nn::ModelModules modules = nn::ModulesOf(config);
  double weights = 0;
  for (const nn::LayerModules& layer : modules.layers) {
    for (const nn::MergedLinear* linear : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
      weights += static_cast<double>(linear->in()) * linear->out();
    }
  }
  const double tokens = static_cast<double>(documents) * length;
  const double supervised = tokens - static_cast<double>(documents);
  const double head = static_cast<double>(config.vocab_size) * config.hidden_size;
  const double pairs = static_cast<double>(documents) * length * (length + 1) / 2;
  const double attention = 7.0 * 2 * pairs * config.num_heads * config.head_dim;
  return 4 * weights * tokens + 4 * head * supervised + 6.0 * lora_weights * tokens +
         attention * config.num_layers();
}

}  // namespace lockstep
