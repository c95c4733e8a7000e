// A family of models: how its config.json reads. One file each in nn/families/; a family that only
// recombines what the decoder knows is one more file and one more line in families.cc.
#pragma once

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "nn/config.h"
#include "nn/config_reader.h"

namespace lockstep::nn {

struct Family {
  const char* model_type;
  std::vector<std::string> architectures;  // accepted in `architectures`
  // Translates every field that matters; problems go to the reader.
  void (*read)(ConfigReader& reader, ModelConfig& config);
};

const Family& LlamaFamily();
const Family& MistralFamily();
const Family& Qwen2Family();
const Family& Qwen3Family();
const Family& Phi3Family();
const Family& Gemma2Family();
const Family& Gemma3TextFamily();
const Family& Gemma3Family();  // the multimodal files: text_config inside

// nullptr if there is none.
const Family* FindFamily(absl::string_view model_type);
std::vector<std::string> FamilyNames();

// --- What families share ---

// transformers' defaults of a family, for sizes that a file leaves out.
struct DefaultSizes {
  int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads;
  int64_t num_key_value_heads = 0;  // 0: as many as heads
  int64_t head_dim = 0;             // 0: hidden_size / num_attention_heads
  int64_t max_position_embeddings;
  double rms_norm_eps = 1e-6;
  int64_t pad_token_id = -1;  // -1: none
};

// The fields that all families have: sizes, eps, pad_token_id, attention_dropout, and the neutral
// rest. Layers get no window and RoPE 0.
void ReadSizes(ConfigReader& reader, const DefaultSizes& defaults, ModelConfig& config);

void ReadActivation(ConfigReader& reader, const char* field, const char* missing,
                    ModelConfig& config);

struct RopeDefaults {
  double theta = 10000.0;
  double partial_rotary_factor = 1.0;
  int64_t original_max_position_embeddings = 0;  // beats the RoPE object's own; 0: none
  bool longrope_aliases = false;                 // "su" and "yarn" mean longrope (Phi-3)
  bool partial = false;                          // partial_rotary_factor is supported
};

// Both spellings: rope_theta with rope_scaling, or rope_parameters; one RoPE for all layers. Fields
// beside the RoPE object beat `defaults`.
void ReadRope(ConfigReader& reader, RopeDefaults defaults, ModelConfig& config);

// One RoPE from its own object: {"rope_type", "rope_theta", "factor", …}.
RopeConfig ReadRopeObject(ConfigReader& reader, const RopeDefaults& defaults,
                          const ModelConfig& config);

// sliding_window: 4096 where it is missing; 0, which is none, where it is null.
int64_t ReadWindow(ConfigReader& reader);

// Gives `window` to the layers that `layer_types` says, or, where the field is missing, to those of
// which `slides` is true.
void ReadLayerTypes(ConfigReader& reader, int64_t window,
                    absl::FunctionRef<bool(int64_t layer)> slides, ModelConfig& config);

// Qwen's windows: in the layers from max_window_layers up, if use_sliding_window.
void ReadQwenWindows(ConfigReader& reader, ModelConfig& config);

}  // namespace lockstep::nn
