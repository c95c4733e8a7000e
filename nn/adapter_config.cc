#include "nn/adapter_config.h"

#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "nn/config_reader.h"
#include "nn/json.h"

namespace lockstep::nn {
namespace {

constexpr char kFile[] = "adapter_config.json";

ModuleSelector ReadSelector(const nlohmann::json& object, const char* name, ConfigReader& reader) {
  ModuleSelector selector;
  const auto it = object.find(name);
  if (it != object.end() && it->is_string()) {
    reader.Ignore({name});
    const std::string text = it->get<std::string>();
    if (ParseModuleSelector(text).all_linear) {
      selector.all_linear = true;
    } else {
      selector.regex = text;
    }
  } else {
    selector.names = reader.Strings(name);
  }
  return selector;
}

// A string or a list of them.
std::vector<std::string> ReadLayersPattern(const nlohmann::json& object, ConfigReader& reader) {
  const auto it = object.find("layers_pattern");
  if (it == object.end() || !it->is_string()) return reader.Strings("layers_pattern");
  reader.Ignore({"layers_pattern"});
  const std::string text = it->get<std::string>();
  return text.empty() ? std::vector<std::string>{} : std::vector<std::string>{text};
}

// Patterns keep the file's order: the first that matches wins.
template <typename Value>
std::vector<std::pair<std::string, Value>> ReadPattern(const std::string& text, const char* name,
                                                       ConfigReader& reader) {
  std::vector<std::pair<std::string, Value>> out;
  if (reader.Object(name) == nullptr) return out;
  const nlohmann::ordered_json object = nlohmann::ordered_json::parse(text);
  for (const auto& [key, value] : object[name].items()) {
    const bool whole = std::is_same_v<Value, double> || value.is_number_integer();
    if (!value.is_number() || !whole) {
      reader.Problem(name, absl::StrCat("\"", key, "\": want a number, got ", value.dump()));
    } else {
      out.emplace_back(key, value.template get<Value>());
    }
  }
  return out;
}

void ReadInit(const nlohmann::json& object, ConfigReader& reader, LoraConfig& config) {
  reader.Ignore({"init_lora_weights"});
  const auto it = object.find("init_lora_weights");
  if (it == object.end() || it->is_null()) return;
  if (it->is_boolean()) {
    config.init = it->get<bool>() ? LoraInit::kTrue : LoraInit::kFalse;
    return;
  }
  const std::string name = it->is_string() ? it->get<std::string>() : it->dump();
  if (name == "gaussian") {
    config.init = LoraInit::kGaussian;
  } else if (name == "pissa") {
    config.init = LoraInit::kPissa;
  } else if (name != "orthogonal" && name != "eva") {
    // These leave the base weights as they are. The others train against changed ones (olora,
    // corda, lora_ga, loftq, pissa_niter_*) or leave B as it is (mica).
    reader.Problem("init_lora_weights", absl::StrCat("\"", name, "\" is not supported"));
  }
}

// Keys that switch on what is not supported.
void RefuseVariants(ConfigReader& reader) {
  reader.Want("peft_type", "LORA", "only LoRA adapters are supported");
  reader.Want("task_type", "CAUSAL_LM");
  for (const char* flag : {"lora_bias", "use_qalora", "use_bdlora"}) reader.Want(flag, false);
  for (const char* object : {"alora_invocation_tokens", "arrow_config", "kasa_config",
                             "layer_replication", "megatron_config", "monteclora_config",
                             "target_parameters", "trainable_token_indices", "velora_config"}) {
    reader.Want(object, nullptr);
  }
  // Bookkeeping, parameters of an initialization that is over, and what oldest versions wrote.
  reader.Ignore({"auto_mapping", "base_model_name_or_path", "corda_config", "enable_lora",
                 "eva_config", "inference_mode", "loftq_config", "lora_ga_config", "megatron_core",
                 "merge_weights", "peft_version", "qalora_group_size", "revision",
                 "runtime_config"});
}

void JudgeUnknown(const nlohmann::json& object, ConfigReader& reader,
                  std::vector<std::string>* warnings) {
  for (const std::string& name : reader.Unknown()) {
    const nlohmann::json& value = object[name];
    if (value.is_number() || value.is_string()) {
      warnings->push_back(absl::StrCat("adapter_config.json: unknown key ", name, " = ",
                                       Shown(value), " is left alone"));
    } else {
      reader.Problem(name, absl::StrCat("unknown key, ", Shown(value),
                                        ": it may switch on what is not supported"));
    }
  }
}

nlohmann::json SelectorJson(const ModuleSelector& selector,
                            const std::vector<std::string>& linear_modules) {
  if (selector.regex) return *selector.regex;
  if (selector.all_linear) {
    std::set<std::string> names;
    for (const std::string& path : linear_modules) {
      if (path != "lm_head") names.insert(path.substr(path.rfind('.') + 1));
    }
    return names;
  }
  return selector.names.empty() ? nlohmann::json() : nlohmann::json(selector.names);
}

// 16, not 16.0, where it is whole.
nlohmann::json NumberJson(double value) {
  if (value == std::floor(value)) return static_cast<int64_t>(value);
  return value;
}

// In the pattern's order, not sorted: the first key that matches wins.
template <typename Value>
void AddPattern(const char* name, const std::vector<std::pair<std::string, Value>>& pattern,
                nlohmann::ordered_json& object) {
  for (const auto& [key, value] : pattern) object[name][key] = NumberJson(value);
}

}  // namespace

absl::StatusOr<LoraConfig> ReadAdapterConfig(const std::string& directory,
                                             std::vector<std::string>* warnings) {
  const std::string path = JoinPath(directory, kFile);
  if (!FileExists(path)) {
    return UserError(path, "no such file",
                     "want a PEFT adapter's folder: adapter_config.json and "
                     "adapter_model.safetensors");
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseAdapterConfig(text, path, warnings);
}

absl::StatusOr<LoraConfig> ParseAdapterConfig(const std::string& text, const std::string& where,
                                              std::vector<std::string>* warnings) {
  ASSIGN_OR_RETURN(const nlohmann::json object, ParseJsonObject(text, where));
  ConfigReader reader(where, object);
  LoraConfig config;
  RefuseVariants(reader);
  config.r = reader.Int("r", 8);
  config.alpha = reader.Number("lora_alpha", 8);
  config.dropout = reader.Number("lora_dropout", 0);
  if (config.dropout < 0 || config.dropout >= 1) reader.Problem("lora_dropout", "want [0, 1)");
  config.bias = reader.String("bias", "none");
  if (config.bias != "none" && config.bias != "all" && config.bias != "lora_only") {
    reader.Problem("bias", absl::StrCat("want none, all or lora_only, got \"", config.bias, "\""));
  }
  config.ensure_weight_tying = reader.Bool("ensure_weight_tying", false);
  if (reader.Bool("fan_in_fan_out", false)) {
    warnings->push_back("adapter_config.json: fan_in_fan_out has no effect on linear layers");
  }
  config.use_rslora = reader.Bool("use_rslora", false);
  config.use_dora = reader.Bool("use_dora", false);
  config.target_modules = ReadSelector(object, "target_modules", reader);
  if (config.target_modules.empty()) config.target_modules.names = {"q_proj", "v_proj"};
  config.exclude_modules = ReadSelector(object, "exclude_modules", reader);
  config.layers_to_transform = reader.IntOrList("layers_to_transform");
  config.layers_pattern = ReadLayersPattern(object, reader);
  config.rank_pattern = ReadPattern<int64_t>(text, "rank_pattern", reader);
  config.alpha_pattern = ReadPattern<double>(text, "alpha_pattern", reader);
  config.modules_to_save = reader.Strings("modules_to_save");
  ReadInit(object, reader, config);
  JudgeUnknown(object, reader, warnings);
  RETURN_IF_ERROR(reader.status());
  return config;
}

std::string FormatAdapterConfig(const LoraConfig& config, const std::string& base_name,
                                const std::vector<std::string>& linear_modules) {
  nlohmann::json object = {{"alpha_pattern", nlohmann::json::object()},
                           {"auto_mapping", nullptr},
                           {"base_model_name_or_path", base_name},
                           {"bias", config.bias},
                           {"fan_in_fan_out", false},
                           {"inference_mode", true},
                           {"init_lora_weights", true},
                           {"layers_pattern", nullptr},
                           {"layers_to_transform", nullptr},
                           {"lora_alpha", NumberJson(config.alpha)},
                           {"lora_dropout", config.dropout},
                           {"modules_to_save", nullptr},
                           {"peft_type", "LORA"},
                           {"r", config.r},
                           {"rank_pattern", nlohmann::json::object()},
                           {"revision", nullptr},
                           {"target_modules", SelectorJson(config.target_modules, linear_modules)},
                           {"task_type", "CAUSAL_LM"}};
  if (config.init == LoraInit::kGaussian || config.init == LoraInit::kPissa) {
    object["init_lora_weights"] = ToString(config.init);
  } else {
    object["init_lora_weights"] = config.init == LoraInit::kTrue;
  }
  if (!config.layers_to_transform.empty()) {
    object["layers_to_transform"] = config.layers_to_transform;
  }
  if (!config.layers_pattern.empty()) object["layers_pattern"] = config.layers_pattern;
  if (!config.modules_to_save.empty()) object["modules_to_save"] = config.modules_to_save;
  // Not known to every version: only where they say something.
  if (!config.exclude_modules.empty()) {
    object["exclude_modules"] = SelectorJson(config.exclude_modules, linear_modules);
  }
  if (config.use_rslora) object["use_rslora"] = true;
  if (config.use_dora) object["use_dora"] = true;
  if (config.ensure_weight_tying) object["ensure_weight_tying"] = true;
  nlohmann::ordered_json ordered = object;
  AddPattern("rank_pattern", config.rank_pattern, ordered);
  AddPattern("alpha_pattern", config.alpha_pattern, ordered);
  return FormatJson(ordered);
}

}  // namespace lockstep::nn
