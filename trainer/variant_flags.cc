#include "trainer/variant_flags.h"

#include <gflags/gflags.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "trainer/flag_values.h"

DEFINE_bool(use_dora, false, "Weight-decomposed LoRA: outputs scaled to learned magnitudes.");
DEFINE_string(init_lora_weights, "true",
              "true (A uniform, B zero), gaussian, or pissa (the leading singular directions).");
DEFINE_string(layers_to_transform, "", "Numbers of the layers that get an adapter. Default: all.");
DEFINE_string(rank_pattern, "",
              "Other ranks for some modules, a JSON object: {\"q_proj\": 8, \"layers.0.*\": 4}.");
DEFINE_string(alpha_pattern, "", "Other alphas, like --rank_pattern.");
DEFINE_string(modules_to_save, "", "Modules that are trained whole: lm_head, embed_tokens.");
DEFINE_double(loraplus_lr_ratio, 1, "LoRA+: the learning rate of B over that of A.");

namespace lockstep {
namespace {

constexpr const char* kFlags[] = {"use_dora",         "init_lora_weights", "layers_to_transform",
                                  "rank_pattern",     "alpha_pattern",     "modules_to_save",
                                  "loraplus_lr_ratio"};

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

}  // namespace

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
                       absl::StrCat("want numbers of layers, 0,1,2; got \"", text, "\""));
    }
    lora->layers_to_transform.push_back(layer);
  }
  RETURN_IF_ERROR(ReadPattern("rank_pattern", FLAGS_rank_pattern, &lora->rank_pattern));
  RETURN_IF_ERROR(ReadPattern("alpha_pattern", FLAGS_alpha_pattern, &lora->alpha_pattern));
  lora->modules_to_save = absl::StrSplit(FLAGS_modules_to_save, ',', absl::SkipEmpty());
  lora->loraplus_lr_ratio = FLAGS_loraplus_lr_ratio;
  return CheckRange("loraplus_lr_ratio", FLAGS_loraplus_lr_ratio, 1e-6, 1e6);
}

absl::Status RefuseVariantFlags(absl::string_view because) {
  for (const char* flag : kFlags) {
    if (gflags::GetCommandLineFlagInfoOrDie(flag).is_default) continue;
    return UserError(absl::StrCat("--", flag), because, "leave the flag out");
  }
  return absl::OkStatus();
}

}  // namespace lockstep
