#include "nn/config.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status.h"
#include "nn/config_reader.h"
#include "nn/family.h"
#include "nn/json.h"

namespace lockstep::nn {
namespace {

void CheckArchitectures(ConfigReader& reader, const Family& family) {
  const std::vector<std::string> names = reader.Strings("architectures");
  if (names.empty()) return;
  for (const std::string& name : names) {
    for (const std::string& accepted : family.architectures) {
      if (name == accepted) return;
    }
  }
  reader.Problem("architectures", absl::StrCat("want ", absl::StrJoin(family.architectures, ", "),
                                               " for model_type \"", family.model_type, "\", got ",
                                               absl::StrJoin(names, ", ")));
}

void AddEos(ConfigReader& reader, ModelConfig& config) {
  for (const int64_t id : reader.IntOrList("eos_token_id")) {
    auto& ids = config.eos_token_ids;
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
}

void ReadTokenIds(ConfigReader& reader, ModelConfig& config) {
  AddEos(reader, config);
  const std::vector<int64_t> bos = reader.IntOrList("bos_token_id");
  if (!bos.empty()) config.bos_token_id = bos[0];
}

}  // namespace

int64_t ModelConfig::longest_document() const {
  using Kind = RopeConfig::Kind;
  const RopeConfig& rope = ropes[0];
  double reach = 0;
  if (rope.kind == Kind::kDynamic) {
    reach = rope.factor * static_cast<double>(max_position_embeddings);
  } else if (rope.kind == Kind::kYarn) {
    reach = rope.factor * static_cast<double>(rope.original_max_position_embeddings);
  }
  constexpr double kMost = 1e15;  // holds in 64 bits
  return std::max(max_position_embeddings, static_cast<int64_t>(std::min(reach, kMost)));
}

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, absl::string_view where) {
  ASSIGN_OR_RETURN(const nlohmann::json object, ParseJsonObject(text, where));
  ConfigReader reader(where, object);
  const std::string type = reader.String("model_type", "");
  const Family* family = FindFamily(type);
  if (family == nullptr) {
    const std::string got = type.empty() ? "no model_type" : absl::StrCat("\"", type, "\"");
    return UserError(
        where,
        absl::StrCat("model_type: want one of ", absl::StrJoin(FamilyNames(), ", "), "; got ", got),
        "only these families are supported");
  }
  ModelConfig config;
  config.model_type = type;
  CheckArchitectures(reader, *family);
  family->read(reader, config);
  ReadTokenIds(reader, config);
  config.stored_dtype = reader.String("dtype", reader.String("torch_dtype", ""));
  reader.RefuseUnknown();
  RETURN_IF_ERROR(reader.status());
  return config;
}

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory) {
  const std::string path = JoinPath(directory, "config.json");
  if (!FileExists(path)) {
    const bool adapter = FileExists(JoinPath(directory, "adapter_config.json"));
    return UserError(path, "no such file",
                     adapter ? "this is a PEFT adapter's folder: name the base model here, and the "
                               "adapter as such (--adapter, --init_adapter)"
                             : "want a folder as Hugging Face lays it out: config.json, "
                               "*.safetensors, tokenizer.json");
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  ASSIGN_OR_RETURN(ModelConfig config, ParseModelConfig(text, path));

  const std::string generation = JoinPath(directory, "generation_config.json");
  if (FileExists(generation)) {
    ASSIGN_OR_RETURN(const std::string more, ReadFile(generation));
    ASSIGN_OR_RETURN(const nlohmann::json object, ParseJsonObject(more, generation));
    ConfigReader reader(generation, object);
    AddEos(reader, config);
    RETURN_IF_ERROR(reader.status());
  }
  return config;
}

}  // namespace lockstep::nn
