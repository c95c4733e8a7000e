#include "nn/adapter.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/status.h"
#include "nn/host_tensor.h"
#include "nn/safetensors.h"

namespace lockstep::nn {
namespace {

constexpr char kWeights[] = "adapter_model.safetensors";
constexpr char kPrefix[] = "base_model.model.";

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

absl::StatusOr<Trainable> TrainableOfAdapter(const std::string& directory, const LoraConfig& lora,
                                             const ModelConfig& config, const ModelModules& modules,
                                             std::vector<std::string>* warnings) {
  absl::StatusOr<Trainable> trainable = TrainableOf(lora, config, modules);
  if (!trainable.ok()) {
    return Annotate(trainable.status(), JoinPath(directory, "adapter_config.json"));
  }
  ASSIGN_OR_RETURN(const auto file, OpenWeights(directory));
  Matched matched = MatchTensors(*file, trainable->specs);
  std::vector<std::string> foreign;
  for (const std::string& name : matched.surplus) {
    const bool left_alone = std::any_of(
        config.foreign_prefixes.begin(), config.foreign_prefixes.end(),
        [&](const std::string& prefix) { return absl::StartsWith(name, FileName(prefix)); });
    if (left_alone) foreign.push_back(name);
    if (!left_alone) matched.problems.push_back("surplus: " + name);
  }
  if (!foreign.empty()) {
    warnings->push_back(absl::StrCat("the adapter's ", foreign.size(), " tensors of the vision ",
                                     "part are left alone: ", foreign[0], " …"));
  }
  RETURN_IF_ERROR(ListOf(std::move(matched.problems), *file));
  return trainable;
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
