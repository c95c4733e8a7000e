// LoRA: which modules get an adapter, of which rank and scale, and its first values.
//
//   y = W x + s · B (A (dropout(x))),   s = alpha / r, or alpha / sqrt(r) with use_rslora
//   embed_tokens: W[token] + s · (B A)[:, token], without dropout
//   DoRA: y = m ⊙ (W + s B A) x / ‖W + s B A‖ (L2 norm of each output row), m starts as that norm
//
// Names and meanings are PEFT's (tuners/lora/config.py, tuners_utils.py).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lockstep::nn {

// Modules by name, as PEFT selects them.
struct ModuleSelector {
  std::vector<std::string> names;    // module == name, or it ends with "." + name
  std::optional<std::string> regex;  // or: must match the whole module path
  bool all_linear = false;           // or: every linear layer but the output head

  bool empty() const { return names.empty() && !regex && !all_linear; }
};

// Of embed_tokens, whatever the kind: A = 0 and B normal, with kFalse both normal.
enum class LoraInit {
  kTrue,      // A ~ U(±1/sqrt(in)), B = 0
  kGaussian,  // A normal with standard deviation 1/r, B = 0
  kPissa,  // the r largest singular values: A = √(S/s) Vᵀ, B = U √(S/s), W ← W − s·B·A
  kFalse,  // A ~ U(±1/sqrt(in)), B ~ U(±1/sqrt(r)): not the identity, for tests
};

struct LoraConfig {
  int64_t r = 16;
  double alpha = 32;
  double dropout = 0;
  bool use_rslora = false;
  bool use_dora = false;
  ModuleSelector target_modules = {{}, std::nullopt, /*all_linear=*/true};
  ModuleSelector exclude_modules;
  std::vector<int64_t> layers_to_transform;  // empty: all
  std::vector<std::string> layers_pattern;   // module list names, e.g. "layers"
  // Keys are regular expressions for the end of a module path; the first that matches wins.
  std::vector<std::pair<std::string, int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;
  std::vector<std::string> modules_to_save;  // trained whole: lm_head, embed_tokens
  std::string bias = "none";                 // which of the base model's biases are trained, too
  bool ensure_weight_tying = false;          // of a tied model's adapters of head and embedding
  LoraInit init = LoraInit::kTrue;
  double loraplus_lr_ratio = 1.0;  // rate of B over rate of A; not part of the adapter
};

// What LoRA does to one linear layer.
struct LoraTarget {
  int64_t r = 0;
  double scale = 0;
  bool operator==(const LoraTarget&) const = default;
};

// Decides for each of `modules` (paths as Hugging Face names them, e.g.
// "model.layers.0.self_attn.q_proj", "lm_head", "model.embed_tokens"): nullopt means untouched.
// Errors: a broken expression (with its offset), nothing matches (with the paths there are), r < 1.
absl::StatusOr<std::vector<std::optional<LoraTarget>>> ResolveTargets(
    const LoraConfig& config, const std::vector<std::string>& modules);

// What of the configuration says nothing about this model: names of target_modules, layers of
// layers_to_transform and keys of rank_pattern and alpha_pattern that no target matches, a sentence
// each. PEFT passes over them; often they are misspelled.
absl::StatusOr<std::vector<std::string>> IdleNames(const LoraConfig& config,
                                                   const std::vector<std::string>& modules);

// Reads the flags' spellings: "all-linear", "q_proj,v_proj", or a regular expression (anything
// with a character that no module name has).
ModuleSelector ParseModuleSelector(absl::string_view text);

// PEFT's spelling.
std::string ToString(LoraInit init);

}  // namespace lockstep::nn
