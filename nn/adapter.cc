#include "nn/adapter.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/status.h"
#include "nn/config_reader.h"
#include "nn/host_tensor.h"
#include "nn/json.h"
#include "nn/safetensors.h"

namespace lockstep::nn {
namespace {

constexpr char kConfig[] = "adapter_config.json";
constexpr char kWeights[] = "adapter_model.safetensors";
constexpr char kPrefix[] = "base_model.model.";

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

std::string FileName(const std::string& parameter) { return kPrefix + parameter; }

// Names of older files: with the adapter's name, or a magnitude with ".weight".
std::string CanonicalName(const std::string& name) {
  const std::string out = absl::StrReplaceAll(
      name, {{".lora_A.default.", ".lora_A."},
             {".lora_B.default.", ".lora_B."},
             {".lora_embedding_A.default", ".lora_embedding_A"},
             {".lora_embedding_B.default", ".lora_embedding_B"},
             {".lora_magnitude_vector.weight", ".lora_magnitude_vector"},
             {".lora_magnitude_vector.default.weight", ".lora_magnitude_vector"}});
  // Gemma 3 as transformers 4 named it.
  return absl::StrReplaceAll(
      out, {{"base_model.model.language_model.model.", "base_model.model.model.language_model."},
            {"base_model.model.language_model.lm_head.", "base_model.model.lm_head."}});
}

// The base model's own embedding or head, which PEFT stores too where it has an adapter
// (base_layer), its vocabulary was resized, or save_embedding_layers asked for it; with those of
// modules_to_save (original_module) once more what is trained (modules_to_save).
bool IsBaseTable(const std::string& name) {
  const bool table =
      absl::StrContains(name, "embed_tokens.") || absl::StrContains(name, "lm_head.");
  return table && absl::EndsWith(name, ".weight") && !absl::StrContains(name, ".lora_");
}

absl::StatusOr<std::shared_ptr<const SafetensorsFile>> OpenWeights(const std::string& directory) {
  const std::string path = JoinPath(directory, kWeights);
  if (!FileExists(path) && FileExists(JoinPath(directory, "adapter_model.bin"))) {
    return UserError(path, "missing, but there is an adapter_model.bin",
                     "save the adapter with safe_serialization=True");
  }
  return SafetensorsFile::Open(path);
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
  const std::string path = JoinPath(directory, kConfig);
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

namespace {

struct Matched {
  std::map<std::string, const StoredTensor*> stored;  // by canonical name
  std::vector<std::string> problems;                  // parameters that are missing or misshapen
  std::vector<std::string> surplus;                   // names that are no parameter's
};

Matched MatchTensors(const SafetensorsFile& file, const std::vector<ParameterSpec>& specs) {
  Matched out;
  for (const StoredTensor& tensor : file.tensors()) {
    out.stored[CanonicalName(tensor.name)] = &tensor;
  }
  std::set<std::string> wanted;
  for (const ParameterSpec& spec : specs) {
    const std::string name = FileName(spec.name);
    wanted.insert(name);
    const auto it = out.stored.find(name);
    if (it == out.stored.end()) {
      out.problems.push_back("missing: " + name);
    } else if (it->second->shape != spec.shape) {
      out.problems.push_back(absl::StrCat(name, ": want ", ShapeText(spec.shape), ", got ",
                                          ShapeText(it->second->shape)));
    }
  }
  for (const auto& [name, tensor] : out.stored) {
    if (wanted.count(name) == 0 && !IsBaseTable(name)) out.surplus.push_back(name);
  }
  return out;
}

absl::Status ListOf(std::vector<std::string> problems, const SafetensorsFile& file) {
  if (problems.empty()) return absl::OkStatus();
  const size_t count = problems.size();
  if (count > 10) problems.resize(10);
  return UserError(file.path(),
                   absl::StrCat(count, " tensors do not fit adapter_config.json and the model\n  ",
                                absl::StrJoin(problems, "\n  ")),
                   "the adapter belongs to another base model, or its config was changed");
}

}  // namespace

absl::Status CheckAdapter(const std::string& directory, const std::vector<ParameterSpec>& specs,
                          const std::vector<std::string>& foreign_prefixes,
                          std::vector<std::string>* warnings) {
  ASSIGN_OR_RETURN(const auto file, OpenWeights(directory));
  Matched matched = MatchTensors(*file, specs);
  std::vector<std::string> foreign;
  for (const std::string& name : matched.surplus) {
    const bool left_alone = std::any_of(
        foreign_prefixes.begin(), foreign_prefixes.end(),
        [&](const std::string& prefix) { return absl::StartsWith(name, FileName(prefix)); });
    if (left_alone) foreign.push_back(name);
    if (!left_alone) matched.problems.push_back("surplus: " + name);
  }
  if (!foreign.empty()) {
    warnings->push_back(absl::StrCat("the adapter's ", foreign.size(), " tensors of the vision ",
                                     "part are left alone: ", foreign[0], " …"));
  }
  return ListOf(std::move(matched.problems), *file);
}

absl::Status LoadAdapter(const Context& context, const std::string& directory,
                         FlatParameters& parameters) {
  ASSIGN_OR_RETURN(const auto file, OpenWeights(directory));
  std::vector<ParameterSpec> specs;
  for (const Parameter& parameter : parameters.parameters()) specs.push_back(parameter.spec);
  Matched matched = MatchTensors(*file, specs);
  RETURN_IF_ERROR(ListOf(std::move(matched.problems), *file));
  if (context.device().type == DeviceType::kMeta) return absl::OkStatus();
  for (int i = 0; i < parameters.num_parameters(); ++i) {
    const Parameter& parameter = parameters.parameters()[i];
    const Tensor part = parameters.Part(parameters.values(), i);
    std::vector<char> buffer(part.view().num_bytes());
    RETURN_IF_ERROR(file->Read(*matched.stored[FileName(parameter.spec.name)], 0, part.numel(),
                               part.dtype(), buffer.data()));
    CopyToDevice(context.stream, buffer.data(), part.Mutable("load_adapter"));
  }
  parameters.RefreshImage(context);
  return absl::OkStatus();
}

absl::Status CheckBaseTables(const std::string& directory,
                             const std::vector<ParameterSpec>& trained, const WeightFiles& base,
                             const ModelModules& modules) {
  ASSIGN_OR_RETURN(const auto file, OpenWeights(directory));
  for (const StoredTensor& stored : file->tensors()) {
    const bool original = absl::StrContains(stored.name, ".original_module.");
    const std::string name =
        absl::StrReplaceAll(CanonicalName(stored.name),
                            {{".base_layer.", "."}, {".original_module.", "."}})
            .substr(sizeof(kPrefix) - 1);
    const bool is_trained = absl::StrContains(name, ".modules_to_save.") ||
                            std::any_of(trained.begin(), trained.end(), [&](const auto& spec) {
                              return !original && spec.name == name;
                            });
    if (!IsBaseTable(name) || is_trained) continue;
    const auto* entry = base.Find(name);
    if (entry == nullptr) entry = base.Find(modules.embedding + ".weight");  // of a tied head
    if (entry == nullptr || entry->tensor->shape != stored.shape) {
      return UserError(
          file->path(),
          absl::StrCat(stored.name, ": a table of shape ", ShapeText(stored.shape),
                       ", unlike the base model's ",
                       entry == nullptr ? "" : ShapeText(entry->tensor->shape)),
          "the vocabulary was resized before training: resize the base model too, and save it");
    }
    ASSIGN_OR_RETURN(const bool equal,
                     HaveEqualValues(*entry->file, *entry->tensor, *file, stored,
                                     DTypeOfStored(stored.dtype).value_or(DType::kF32)));
    if (!equal) {
      return UserError(file->path(), absl::StrCat(stored.name, ": differs from the base model's"),
                       "the adapter was trained on other weights: name that model");
    }
  }
  return absl::OkStatus();
}

absl::Status SaveAdapter(const Context& context, const std::string& directory,
                         const FlatParameters& parameters) {
  SafetensorsWriter writer(JoinPath(directory, kWeights));
  for (const Parameter& parameter : parameters.parameters()) {
    writer.Declare(FileName(parameter.spec.name), parameters.options().dtype, parameter.spec.shape);
  }
  RETURN_IF_ERROR(writer.Begin({{"format", "pt"}}));
  for (const StoredTensor& tensor : writer.tensors()) {
    const int index = parameters.IndexOf(tensor.name.substr(sizeof(kPrefix) - 1));
    std::vector<char> buffer(tensor.bytes);
    CopyToHost(context.stream, parameters.Part(parameters.values(), index), buffer.data());
    RETURN_IF_ERROR(writer.Append({buffer.data(), buffer.size()}));
  }
  return writer.Finish();
}

}  // namespace lockstep::nn
