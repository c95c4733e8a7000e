#include "trainer/flags/adapter_flags.h"

#include <gflags/gflags.h>

#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "base/number.h"
#include "base/status.h"
#include "nn/adapter_config.h"
#include "nn/config.h"
#include "nn/modules.h"
#include "nn/trainable.h"
#include "trainer/flags/flag_values.h"
#include "trainer/flags/user_path.h"

// Numbers that a flag takes over unless it is given.
static const lockstep::nn::LoraConfig& kDefaults = *new lockstep::nn::LoraConfig;

DEFINE_string(train, "lora", "lora trains an adapter, full every weight.");
DEFINE_string(init, "pretrained",
              "random starts from random weights: config.json and tokenizer.json suffice (with "
              "--train=full).");
DEFINE_string(init_adapter, "", "A PEFT adapter's folder to start from; rank and targets are its.");
DEFINE_int64(lora_r, kDefaults.r, "Rank of the adapter.");
DEFINE_double(lora_alpha, kDefaults.alpha, "The adapter's output is scaled by alpha / rank.");
DEFINE_double(lora_dropout, kDefaults.dropout,
              "Share of the adapter's inputs that are dropped in training.");
DEFINE_string(lora_target_modules, "all-linear",
              "Layers that get an adapter: all-linear, names separated by commas, or a regular "
              "expression for the whole path.");
DEFINE_bool(use_rslora, false, "Scale by alpha / sqrt(rank).");
DEFINE_bool(use_dora, false, "Weight-decomposed LoRA: outputs scaled to learned magnitudes.");
DEFINE_string(init_lora_weights, "true",
              "true (A uniform, B zero), gaussian, or pissa (the leading singular directions).");
DEFINE_string(layers_to_transform, "", "Numbers of the layers that get an adapter. Default: all.");
DEFINE_string(rank_pattern, "",
              "Other ranks for some modules, a JSON object: {\"q_proj\": 8, \"layers.0.*\": 4}.");
DEFINE_string(alpha_pattern, "", "Other alphas, like --rank_pattern.");
DEFINE_string(modules_to_save, "", "Modules that are trained whole: lm_head, embed_tokens.");
DEFINE_double(loraplus_lr_ratio, kDefaults.loraplus_lr_ratio,
              "LoRA+: the learning rate of B over that of A.");

namespace lockstep {
namespace {

// What describes a new adapter.
constexpr const char* kNewAdapter[] = {
    "lora_r",       "lora_alpha",    "lora_dropout",      "lora_target_modules",
    "use_rslora",   "use_dora",      "init_lora_weights", "layers_to_transform",
    "rank_pattern", "alpha_pattern", "modules_to_save",   "loraplus_lr_ratio"};
// Of these, what an adapter's folder does not hold.
constexpr char kNotInFolder[] = "loraplus_lr_ratio";

bool IsSet(const char* flag) { return !gflags::GetCommandLineFlagInfoOrDie(flag).is_default; }

absl::Status Refuse(absl::Span<const char* const> flags, absl::string_view because) {
  for (const char* flag : flags) {
    if (IsSet(flag)) return UserError(absl::StrCat("--", flag), because, "leave the flag out");
  }
  return absl::OkStatus();
}

// A JSON object of numbers, in its order: the first pattern that matches wins.
template <typename Number>
absl::Status ReadPattern(const char* flag, const std::string& text,
                         std::vector<std::pair<std::string, Number>>* pattern) {
  if (text.empty()) return absl::OkStatus();
  const auto json = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto wrong = [&] {
    return UserError(absl::StrCat("--", flag),
                     absl::StrCat("want a JSON object of numbers, got ", text),
                     absl::StrCat("--", flag, "='{\"q_proj\": 8}'"));
  };
  if (!json.is_object()) return wrong();
  for (const auto& [key, value] : json.items()) {
    const bool fits = std::is_integral_v<Number> ? value.is_number_integer() : value.is_number();
    if (!fits) return wrong();
    pattern->push_back({key, value.template get<Number>()});
  }
  return absl::OkStatus();
}

// Whether two configurations have the same adapters at the same layers of the model, in whatever
// words.
absl::StatusOr<bool> SameTargets(const std::string& model, const nn::LoraConfig& a,
                                 const nn::LoraConfig& b) {
  ASSIGN_OR_RETURN(const nn::ModelConfig config, nn::ReadModelConfig(model));
  const std::vector<std::string> layers = nn::AdapterPaths(nn::ModulesOf(config));
  ASSIGN_OR_RETURN(const auto of_a, nn::ResolveTargets(a, layers));
  ASSIGN_OR_RETURN(const auto of_b, nn::ResolveTargets(b, layers));
  return of_a == of_b;
}

// DoRA, initialization, layers, patterns, further modules and LoRA+.
absl::Status ReadVariantFlags(nn::LoraConfig* lora) {
  lora->use_dora = FLAGS_use_dora;
  using nn::LoraInit;
  ASSIGN_OR_RETURN(lora->init, Choice<LoraInit>("init_lora_weights", FLAGS_init_lora_weights,
                                                {{"true", LoraInit::kTrue},
                                                 {"gaussian", LoraInit::kGaussian},
                                                 {"pissa", LoraInit::kPissa},
                                                 {"false", LoraInit::kFalse}}));
  for (const absl::string_view text :
       absl::StrSplit(FLAGS_layers_to_transform, ',', absl::SkipEmpty())) {
    int64_t layer;
    if (!absl::SimpleAtoi(text, &layer) || layer < 0) {
      return UserError("--layers_to_transform",
                       absl::StrCat("want numbers of layers, 0,1,2; got \"", text, "\""),
                       "layers count from 0; without the flag all have an adapter");
    }
    lora->layers_to_transform.push_back(layer);
  }
  RETURN_IF_ERROR(ReadPattern("rank_pattern", FLAGS_rank_pattern, &lora->rank_pattern));
  RETURN_IF_ERROR(ReadPattern("alpha_pattern", FLAGS_alpha_pattern, &lora->alpha_pattern));
  lora->modules_to_save = absl::StrSplit(FLAGS_modules_to_save, ',', absl::SkipEmpty());
  lora->loraplus_lr_ratio = FLAGS_loraplus_lr_ratio;
  return CheckRange("loraplus_lr_ratio", FLAGS_loraplus_lr_ratio, 1e-6, 1e6);
}

}  // namespace

absl::Status ReadAdapterFlags(nn::ModelOptions* model) {
  ASSIGN_OR_RETURN(model->full,
                   Choice<bool>("train", FLAGS_train, {{"lora", false}, {"full", true}}));
  ASSIGN_OR_RETURN(model->random_init,
                   Choice<bool>("init", FLAGS_init, {{"pretrained", false}, {"random", true}}));
  if (model->random_init && !model->full) {
    return UserError("--init=random", "an adapter on random weights learns nothing",
                     "add --train=full");
  }
  if (model->full) {
    if (!FLAGS_init_adapter.empty()) {
      return UserError("--init_adapter", "--train=full trains no adapter", "leave one of them out");
    }
    return Refuse(kNewAdapter, "--train=full trains no adapter");
  }
  RETURN_IF_ERROR(CheckRange("lora_r", FLAGS_lora_r, 1, 4096));
  RETURN_IF_ERROR(CheckRange("lora_alpha", FLAGS_lora_alpha, 0, HUGE_VAL));
  RETURN_IF_ERROR(CheckRange("lora_dropout", FLAGS_lora_dropout, 0, 0.99));
  model->adapter = FLAGS_init_adapter = UserPath(FLAGS_init_adapter);
  nn::LoraConfig lora;
  lora.r = FLAGS_lora_r;
  lora.alpha = FLAGS_lora_alpha;
  lora.dropout = FLAGS_lora_dropout;
  lora.use_rslora = FLAGS_use_rslora;
  lora.target_modules = nn::ParseModuleSelector(FLAGS_lora_target_modules);
  if (lora.target_modules.empty()) {
    return UserError("--lora_target_modules", "want at least one module", "all-linear");
  }
  RETURN_IF_ERROR(ReadVariantFlags(&lora));
  model->lora = lora;
  return absl::OkStatus();
}

absl::Status CheckAgainstAdapter(const nn::ModelOptions& model) {
  const std::string& folder = model.adapter;
  if (folder.empty()) return absl::OkStatus();
  std::vector<std::string> warnings;
  ASSIGN_OR_RETURN(const nn::LoraConfig adapter, nn::ReadAdapterConfig(folder, &warnings));
  const nn::LoraConfig& asked = *model.lora;
  const auto check = [&](const char* flag, bool same, absl::string_view had = "others") {
    if (same || !IsSet(flag)) return absl::OkStatus();
    return UserError(absl::StrCat("--", flag),
                     absl::StrCat("the adapter in ", folder, " has ", had, ", got ",
                                  gflags::GetCommandLineFlagInfoOrDie(flag).current_value),
                     "leave the flag out: --init_adapter brings its own");
  };
  const auto check_number = [&](const char* flag, double had, double got) {
    return check(flag, had == got, ShortestNumber(had));
  };
  const auto check_switch = [&](const char* flag, bool had, bool got) {
    return check(flag, had == got, had ? "true" : "false");
  };
  RETURN_IF_ERROR(check_number("lora_r", static_cast<double>(adapter.r), FLAGS_lora_r));
  RETURN_IF_ERROR(check_number("lora_alpha", adapter.alpha, asked.alpha));
  RETURN_IF_ERROR(check_number("lora_dropout", adapter.dropout, asked.dropout));
  RETURN_IF_ERROR(check_switch("use_rslora", adapter.use_rslora, asked.use_rslora));
  RETURN_IF_ERROR(check_switch("use_dora", adapter.use_dora, asked.use_dora));
  RETURN_IF_ERROR(
      check("init_lora_weights", adapter.init == asked.init, nn::ToString(adapter.init)));
  const auto as_set = [](const std::vector<std::string>& names) {
    return std::set<std::string>(names.begin(), names.end());
  };
  RETURN_IF_ERROR(
      check("modules_to_save", as_set(adapter.modules_to_save) == as_set(asked.modules_to_save)));
  const auto check_targets = [&](const char* flag, const auto& field) -> absl::Status {
    if (!IsSet(flag)) return absl::OkStatus();
    nn::LoraConfig other = adapter;
    other.*field = asked.*field;
    ASSIGN_OR_RETURN(const bool same, SameTargets(model.directory, adapter, other));
    return check(flag, same);
  };
  RETURN_IF_ERROR(check_targets("lora_target_modules", &nn::LoraConfig::target_modules));
  RETURN_IF_ERROR(check_targets("layers_to_transform", &nn::LoraConfig::layers_to_transform));
  RETURN_IF_ERROR(check_targets("rank_pattern", &nn::LoraConfig::rank_pattern));
  return check_targets("alpha_pattern", &nn::LoraConfig::alpha_pattern);
}

std::set<std::string> IdleAdapterFlags(const nn::ModelOptions& model) {
  if (!model.full && model.adapter.empty()) return {};
  std::set<std::string> idle(std::begin(kNewAdapter), std::end(kNewAdapter));
  if (!model.full) idle.erase(kNotInFolder);
  return idle;
}

}  // namespace lockstep
