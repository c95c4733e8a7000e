#include "nn/trainable.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"

namespace lockstep::nn {
namespace {

// Merged linear layers of a layer in the order in which backward reaches them.
std::vector<const MergedLinear*> BackwardOrder(const LayerModules& layer) {
  return {&layer.down, &layer.gate_up, &layer.o, &layer.qkv};
}

class LoraSpecs {
 public:
  LoraSpecs(const LoraConfig& lora, Trainable& out) : lora_(lora), out_(out) {}

  void Add(const std::vector<LinearModule>& parts) {
    const auto each = [&](const auto& add) {
      for (const LinearModule& part : parts) {
        const auto it = out_.targets.find(part.path);
        if (it != out_.targets.end()) add(part, it->second.r);
      }
    };
    each([&](const LinearModule& part, int64_t r) {
      out_.specs.push_back({part.path + ".lora_A.weight", {r, part.in}, true, 1.0});
    });
    each([&](const LinearModule& part, int64_t r) {
      out_.specs.push_back(
          {part.path + ".lora_B.weight", {part.out, r}, true, lora_.loraplus_lr_ratio});
    });
    if (!lora_.use_dora) return;
    each([&](const LinearModule& part, int64_t) {
      out_.specs.push_back({part.path + ".lora_magnitude_vector", {part.out}, true, 1.0, true});
    });
  }

 private:
  const LoraConfig& lora_;
  Trainable& out_;
};

bool Names(const std::string& name, const std::string& path) {
  return path == name || absl::EndsWith(path, "." + name);
}

bool Saves(const LoraConfig& lora, const std::string& path) {
  return std::any_of(lora.modules_to_save.begin(), lora.modules_to_save.end(),
                     [&](const std::string& name) { return Names(name, path); });
}

}  // namespace

std::vector<std::string> LinearPaths(const ModelModules& modules) {
  std::vector<std::string> paths;
  for (const LayerModules& layer : modules.layers) {
    for (const MergedLinear* linear : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
      for (const LinearModule& part : linear->parts) paths.push_back(part.path);
    }
  }
  paths.push_back(modules.head.path);
  return paths;
}

absl::StatusOr<Trainable> TrainableOf(const LoraConfig& lora, const ModelConfig& config,
                                      const ModelModules& modules) {
  for (const std::string& name : lora.modules_to_save) {
    if (!Names(name, modules.head.path) && !Names(name, modules.embedding)) {
      return UserError("modules_to_save",
                       absl::StrCat("want lm_head or embed_tokens, got \"", name, "\""));
    }
  }
  Trainable out;
  const std::vector<std::string> paths = LinearPaths(modules);
  ASSIGN_OR_RETURN(const auto resolved, ResolveTargets(lora, paths));
  for (size_t i = 0; i < paths.size(); ++i) {
    if (resolved[i]) out.targets[paths[i]] = *resolved[i];
  }
  out.dora = lora.use_dora;
  if (out.dora && out.targets.count(modules.head.path) > 0) {
    return UserError("target_modules", "lm_head cannot have DoRA",
                     "add it to modules_to_save, or leave it out");
  }
  LoraSpecs specs(lora, out);
  const std::vector<int64_t> table = {config.vocab_size, config.hidden_size};
  if (Saves(lora, modules.head.path)) {
    out.specs.push_back({modules.head.path + ".weight", table});
  }
  specs.Add({modules.head});
  for (auto layer = modules.layers.rbegin(); layer != modules.layers.rend(); ++layer) {
    for (const MergedLinear* linear : BackwardOrder(*layer)) specs.Add(linear->parts);
  }
  if (Saves(lora, modules.embedding)) out.specs.push_back({modules.embedding + ".weight", table});
  return out;
}

Trainable AllTrainable(const ModelConfig& config, const ModelModules& modules) {
  Trainable out;
  out.full = true;
  const auto add_norm = [&](const NormModule& norm) {
    if (!norm.path.empty()) out.specs.push_back({norm.path + ".weight", {norm.width}, false});
  };
  const auto add_linear = [&](const MergedLinear& linear) {
    out.specs.push_back({linear.path + ".weight", {linear.out(), linear.in()}});
    if (linear.bias()) out.specs.push_back({linear.path + ".bias", {linear.out()}, false});
  };
  const std::vector<int64_t> table = {config.vocab_size, config.hidden_size};
  if (!config.tie_word_embeddings) out.specs.push_back({modules.head.path + ".weight", table});
  add_norm(modules.norm);
  for (auto layer = modules.layers.rbegin(); layer != modules.layers.rend(); ++layer) {
    add_norm(layer->post_mlp_norm);
    add_linear(layer->down);
    add_linear(layer->gate_up);
    add_norm(layer->pre_mlp_norm);
    add_norm(layer->post_attention_norm);
    add_linear(layer->o);
    add_norm(layer->q_norm);
    add_norm(layer->k_norm);
    add_linear(layer->qkv);
    add_norm(layer->input_norm);
  }
  out.specs.push_back({modules.embedding + ".weight", table});
  return out;
}

}  // namespace lockstep::nn
