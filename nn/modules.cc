#include "nn/modules.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace lockstep::nn {
namespace {

LayerModules LayerOf(const ModelConfig& config, const std::string& path) {
  const int64_t width = config.hidden_size, ffn = config.intermediate_size;
  const int64_t q = config.num_heads * config.head_dim, kv = config.num_kv_heads * config.head_dim;
  const std::string attention = path + ".self_attn.", mlp = path + ".mlp.";
  LayerModules layer;
  layer.qkv.path = attention + "qkv_proj";
  layer.gate_up.path = mlp + "gate_up_proj";
  if (config.fused_projections) {
    layer.qkv.parts = {{layer.qkv.path, width, q + 2 * kv, config.qkv_bias}};
    layer.gate_up.parts = {{layer.gate_up.path, width, 2 * ffn, config.mlp_bias}};
  } else {
    layer.qkv.parts = {{attention + "q_proj", width, q, config.qkv_bias},
                       {attention + "k_proj", width, kv, config.qkv_bias},
                       {attention + "v_proj", width, kv, config.qkv_bias}};
    layer.gate_up.parts = {{mlp + "gate_proj", width, ffn, config.mlp_bias},
                           {mlp + "up_proj", width, ffn, config.mlp_bias}};
  }
  layer.o = {attention + "o_proj", {{attention + "o_proj", q, width, config.o_bias}}};
  layer.down = {mlp + "down_proj", {{mlp + "down_proj", ffn, width, config.mlp_bias}}};

  layer.input_norm = {path + ".input_layernorm", width};
  if (config.qk_norm) {
    layer.q_norm = {attention + "q_norm", config.head_dim};
    layer.k_norm = {attention + "k_norm", config.head_dim};
  }
  if (config.branch_norms) {
    layer.post_attention_norm = {path + ".post_attention_layernorm", width};
    layer.pre_mlp_norm = {path + ".pre_feedforward_layernorm", width};
    layer.post_mlp_norm = {path + ".post_feedforward_layernorm", width};
  } else {
    layer.pre_mlp_norm = {path + ".post_attention_layernorm", width};
  }
  return layer;
}

}  // namespace

int64_t MergedLinear::out() const {
  int64_t sum = 0;
  for (const LinearModule& part : parts) sum += part.out;
  return sum;
}

bool MergedLinear::bias() const {
  for (const LinearModule& part : parts) {
    if (part.bias) return true;
  }
  return false;
}

bool IsNamed(const std::string& path, const std::string& name) {
  return path == name || absl::EndsWith(path, "." + name);
}

ModelModules ModulesOf(const ModelConfig& config) {
  const std::string root = config.nested_text ? "model.language_model." : "model.";
  ModelModules modules;
  modules.embedding = root + "embed_tokens";
  for (int64_t i = 0; i < config.num_layers(); ++i) {
    modules.layers.push_back(LayerOf(config, absl::StrCat(root, "layers.", i)));
  }
  modules.norm = {root + "norm", config.hidden_size};
  modules.head = {"lm_head", config.hidden_size, config.vocab_size, false};
  return modules;
}

std::vector<WeightSpec> WeightsOf(const ModelConfig& config, const ModelModules& modules) {
  std::vector<WeightSpec> specs;
  const auto add = [&](const std::string& path, std::vector<int64_t> shape) {
    if (!path.empty()) specs.push_back({path + ".weight", std::move(shape)});
  };
  const auto add_linear = [&](const MergedLinear& linear) {
    for (const LinearModule& part : linear.parts) {
      add(part.path, {part.out, part.in});
      if (part.bias) specs.push_back({part.path + ".bias", {part.out}});
    }
  };
  add(modules.embedding, {config.vocab_size, config.hidden_size});
  for (const LayerModules& layer : modules.layers) {
    for (const NormModule* norm :
         {&layer.input_norm, &layer.q_norm, &layer.k_norm, &layer.post_attention_norm,
          &layer.pre_mlp_norm, &layer.post_mlp_norm}) {
      add(norm->path, {norm->width});
    }
    for (const MergedLinear* linear : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
      add_linear(*linear);
    }
  }
  add(modules.norm.path, {modules.norm.width});
  if (!config.tie_word_embeddings) add(modules.head.path, {config.vocab_size, config.hidden_size});
  return specs;
}

}  // namespace lockstep::nn
