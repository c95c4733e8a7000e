#include "nn/trainable.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
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
      out_.specs.push_back({part.path + ".lora_A.weight", {r, part.in}});
    });
    each([&](const LinearModule& part, int64_t r) {
      out_.specs.push_back({.name = part.path + ".lora_B.weight",
                            .shape = {part.out, r},
                            .learning_rate_ratio = lora_.loraplus_lr_ratio});
    });
    if (!lora_.use_dora) return;
    each([&](const LinearModule& part, int64_t) {
      out_.specs.push_back({.name = part.path + ".lora_magnitude_vector",
                            .shape = {part.out},
                            .learning_rate_ratio = lora_.loraplus_lr_ratio,
                            .full_precision = true});
    });
  }
  void AddEmbedding(const std::string& path, int64_t vocab, int64_t width) {
    const auto it = out_.targets.find(path);
    if (it == out_.targets.end()) return;
    const int64_t r = it->second.r;
    out_.specs.push_back({path + ".lora_embedding_A", {r, vocab}});
    out_.specs.push_back({path + ".lora_embedding_B", {width, r}});
  }

 private:
  const LoraConfig& lora_;
  Trainable& out_;
};

bool Saves(const LoraConfig& lora, const std::string& path) {
  return std::any_of(lora.modules_to_save.begin(), lora.modules_to_save.end(),
                     [&](const std::string& name) { return IsNamed(path, name); });
}

bool HasBias(const ModelModules& modules) {
  return std::any_of(modules.layers.begin(), modules.layers.end(), [](const LayerModules& layer) {
    return layer.qkv.bias() || layer.o.bias() || layer.gate_up.bias() || layer.down.bias();
  });
}

// What PEFT does with these together, and this does not.
absl::Status RefuseCombinations(const LoraConfig& lora, const ModelConfig& config,
                                const ModelModules& modules, const Trainable& trainable) {
  const bool head = trainable.targets.count(modules.head.path) > 0;
  const bool embedding = trainable.targets.count(modules.embedding) > 0;
  const char* kLeaveOut = "add it to modules_to_save, or leave it out";
  if (lora.use_dora && head && lora.dropout > 0) {
    return UserError("target_modules", "lm_head cannot have DoRA together with dropout", kLeaveOut);
  }
  if (lora.use_dora && embedding) {
    return UserError("target_modules", "embed_tokens cannot have DoRA", kLeaveOut);
  }
  if (lora.init == LoraInit::kPissa && head && config.tie_word_embeddings) {
    return UserError("target_modules",
                     "lm_head cannot have PiSSA in a tied model: what it takes out of the head's "
                     "weights is missing from the embedding, too",
                     kLeaveOut);
  }
  if (lora.loraplus_lr_ratio != 1 && embedding) {
    return UserError("target_modules",
                     "embed_tokens cannot have LoRA+: PEFT trains its adapter at a rate of its own "
                     "(loraplus_lr_embedding)",
                     kLeaveOut);
  }
  if (lora.ensure_weight_tying && config.tie_word_embeddings &&
      (head || embedding || !lora.modules_to_save.empty())) {
    return UserError("ensure_weight_tying",
                     "is not supported where lm_head or embed_tokens is trained",
                     "without it, what is trained of a tied pair stands alone from then on");
  }
  if (lora.bias != "none" && HasBias(modules)) {
    return UserError("bias",
                     absl::StrCat("\"", lora.bias,
                                  "\" trains biases of the base model, which is "
                                  "not supported"),
                     "want \"none\"");
  }
  return absl::OkStatus();
}

// A matrix has no more singular vectors than its shorter side, and their values are divided by the
// scale.
absl::Status CheckPissa(const ModelModules& modules, const Trainable& trainable) {
  std::vector<LinearModule> parts = {modules.head};
  for (const LayerModules& layer : modules.layers) {
    for (const MergedLinear* linear : BackwardOrder(layer)) {
      parts.insert(parts.end(), linear->parts.begin(), linear->parts.end());
    }
  }
  for (const LinearModule& part : parts) {
    const auto it = trainable.targets.find(part.path);
    if (it == trainable.targets.end()) continue;
    if (!(it->second.scale > 0)) {
      return UserError(
          "lora_alpha",
          absl::StrCat(part.path, ": PiSSA divides by the adapter's scale: want one above 0, got ",
                       it->second.scale),
          "raise --lora_alpha, or the alpha of this module in --alpha_pattern");
    }
    const int64_t most = std::min(part.in, part.out);
    if (it->second.r <= most) continue;
    return UserError(
        "r",
        absl::StrCat(part.path, ": PiSSA takes singular vectors of a matrix [", part.out, ", ",
                     part.in, "]: want at most ", most, ", got ", it->second.r),
        "lower --lora_r, or the rank of this module by --rank_pattern");
  }
  return absl::OkStatus();
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

std::vector<std::string> AdapterPaths(const ModelModules& modules) {
  std::vector<std::string> paths = LinearPaths(modules);
  paths.push_back(modules.embedding);
  return paths;
}

absl::StatusOr<Trainable> TrainableOf(const LoraConfig& lora, const ModelConfig& config,
                                      const ModelModules& modules) {
  for (const std::string& name : lora.modules_to_save) {
    if (!IsNamed(modules.head.path, name) && !IsNamed(modules.embedding, name)) {
      return UserError("modules_to_save",
                       absl::StrCat("want lm_head or embed_tokens, got \"", name, "\""),
                       "linear layers can have an adapter; --train=full trains every weight");
    }
  }
  Trainable out;
  const std::vector<std::string> paths = AdapterPaths(modules);
  ASSIGN_OR_RETURN(const auto resolved, ResolveTargets(lora, paths));
  for (size_t i = 0; i < paths.size(); ++i) {
    if (resolved[i]) out.targets[paths[i]] = *resolved[i];
  }
  out.dora = lora.use_dora;
  RETURN_IF_ERROR(RefuseCombinations(lora, config, modules, out));
  if (lora.init == LoraInit::kPissa) RETURN_IF_ERROR(CheckPissa(modules, out));
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
  specs.AddEmbedding(modules.embedding, config.vocab_size, config.hidden_size);
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
