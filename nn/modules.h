// The modules of a model by the names that Hugging Face gives them, and how they are merged.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/config.h"

namespace lockstep::nn {

// A linear layer as the files and PEFT know it.
struct LinearModule {
  std::string path;  // "model.layers.0.self_attn.q_proj"
  int64_t in = 0;
  int64_t out = 0;
  bool bias = false;
};

// Linear layers with one input, computed as one product: q|k|v, gate|up, or a single one.
struct MergedLinear {
  std::string path;                 // of the whole: "model.layers.0.self_attn.qkv_proj"
  std::vector<LinearModule> parts;  // in the order of their output rows

  int64_t in() const { return parts[0].in; }
  int64_t out() const;
  bool bias() const;  // of any part
};

struct NormModule {
  std::string path;  // "" where the family has none
  int64_t width = 0;
};

struct LayerModules {
  MergedLinear qkv, o, gate_up, down;
  NormModule input_norm, q_norm, k_norm, post_attention_norm, pre_mlp_norm, post_mlp_norm;
};

struct ModelModules {
  std::string embedding;  // path
  std::vector<LayerModules> layers;
  NormModule norm;
  LinearModule head;  // also where it is tied to the embedding
};

// Whether PEFT's `name` means the module at `path`: it is the path, or its last parts.
bool IsNamed(const std::string& path, const std::string& name);

ModelModules ModulesOf(const ModelConfig& config);

// One stored tensor of the base model.
struct WeightSpec {
  std::string name;  // "model.layers.0.self_attn.q_proj.weight"
  std::vector<int64_t> shape;
};

// All tensors that the files must have; a tied head is not among them.
std::vector<WeightSpec> WeightsOf(const ModelConfig& config, const ModelModules& modules);

}  // namespace lockstep::nn
