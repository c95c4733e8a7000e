// config.json of a Hugging Face folder, understood: what the decoder has to compute.
//
// Families (nn/families/) translate their own fields into these; the decoder knows no family. A
// field that would change the result and is not supported is an error that names it. Defaults are
// those of transformers for the same family.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lockstep::nn {

enum class Activation { kSilu, kGeluTanh };

// Rotary position embeddings; nn/rope.h has the equations.
struct RopeConfig {
  enum class Kind { kDefault, kLinear, kDynamic, kLlama3, kYarn, kLongRope };
  Kind kind = Kind::kDefault;
  double theta = 10000.0;
  int64_t rotary_dim = 0;  // leading channels of a head that rotate; head_dim unless partial
  double factor = 1.0;
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // llama3
  double beta_fast = 32, beta_slow = 1;                  // yarn
  bool truncate = true;                                  // yarn: its bounds to whole numbers
  int64_t original_max_position_embeddings = 0;          // llama3, yarn, longrope
  int64_t max_position_embeddings = 0;                   // dynamic
  std::vector<double> short_factor, long_factor;         // longrope, rotary_dim / 2 each
  double attention_factor = 1.0;                         // multiplies cos and sin
};

struct LayerConfig {
  int64_t window = 0;  // keys a query sees, itself included; 0: all before it
  int rope = 0;        // index into ModelConfig::ropes
};

struct ModelConfig {
  std::string model_type;  // the family's name
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  double initializer_range = 0.02;
  Activation activation = Activation::kSilu;
  bool tie_word_embeddings = false;

  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool fused_projections = false;  // tensors qkv_proj and gate_up_proj instead of their parts
  bool qk_norm = false;            // RMSNorm of each head of q and k, before RoPE
  bool norm_adds_one = false;      // RMSNorm multiplies by 1 + w
  bool branch_norms = false;       // four norms a layer: also behind attention and MLP
  double embedding_scale = 1.0;    // multiplies embeddings
  double attention_scale = 0.0;    // multiplies q·k
  double attention_softcap = 0.0;  // c·tanh(score / c); 0: none
  double final_softcap = 0.0;      // the same for logits
  std::vector<LayerConfig> layers;
  std::vector<RopeConfig> ropes;

  // A multimodal file's text part (Gemma 3): its modules live under "model.language_model.", in
  // older files "language_model.model.", and tensors with these prefixes are left alone.
  bool nested_text = false;
  std::vector<std::string> foreign_prefixes;

  int64_t bos_token_id = -1;  // -1: none
  // -1: none. torch.nn.Embedding trains no row for it (and reads -1 in a file as its last row).
  int64_t pad_token_id = -1;
  std::vector<int64_t> eos_token_ids;  // of config.json and generation_config.json together
  std::string stored_dtype;            // "float32", "bfloat16" … as the file says; "" if not

  std::vector<std::string> warnings;  // fields that were seen, change nothing here, and are unusual

  int64_t num_layers() const { return static_cast<int64_t>(layers.size()); }
  // Tokens of the longest document that the model is made for: max_position_embeddings, or what
  // RoPE reaches beyond it (dynamic, yarn).
  int64_t longest_document() const;
};

// Reads `directory`/config.json and, if it is there, generation_config.json. All problems of a file
// are reported at once, each with its field's name.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory);

// The same from text; `where` names it in errors.
absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, absl::string_view where);

}  // namespace lockstep::nn
