#include "nn/folder_copy.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "base/file.h"
#include "base/model_files.h"
#include "base/status.h"

namespace lockstep::nn {
namespace {

bool IsWeights(const std::string& name) {
  constexpr const char* kSuffixes[] = {".safetensors", ".safetensors.index.json",
                                       ".bin",         ".bin.index.json",
                                       ".pt",          ".pth",
                                       ".gguf",        ".h5",
                                       ".onnx"};
  return std::any_of(std::begin(kSuffixes), std::end(kSuffixes),
                     [&](const char* suffix) { return absl::EndsWith(name, suffix); });
}

// Of the files in from/`folder`.
absl::Status CopyFilesIn(const std::string& folder, const std::string& from, const std::string& to,
                         std::vector<std::string>* files) {
  ASSIGN_OR_RETURN(const std::vector<std::string> inside, NamesIn(JoinPath(from, folder)));
  for (const std::string& base : inside) {
    const std::string name = JoinPath(folder, base), source = JoinPath(from, name);
    std::error_code dangling;
    if (!std::filesystem::is_regular_file(source, dangling)) continue;
    if (IsWeights(name) || name == "config.json") continue;
    ASSIGN_OR_RETURN(const std::string content, ReadFile(source));
    RETURN_IF_ERROR(WriteFileAtomically(JoinPath(to, name), content));
    files->push_back(name);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CopyOtherFiles(const std::string& from, const std::string& to,
                            std::vector<std::string>* files) {
  RETURN_IF_ERROR(CopyFilesIn("", from, to, files));
  if (!FileExists(JoinPath(from, kMoreTemplates))) return absl::OkStatus();
  RETURN_IF_ERROR(MakeDirectories(JoinPath(to, kMoreTemplates)));
  return CopyFilesIn(kMoreTemplates, from, to, files);
}

absl::Status CopyConfig(const std::string& from, const std::string& to,
                        const ConfigChange& change) {
  ASSIGN_OR_RETURN(std::string text, ReadFile(JoinPath(from, "config.json")));
  if (change.untied || change.dtype) {
    nlohmann::ordered_json config = nlohmann::ordered_json::parse(text);
    if (change.untied) {
      config["tie_word_embeddings"] = false;
      if (config.contains("text_config")) config["text_config"]["tie_word_embeddings"] = false;
    }
    if (change.dtype) {
      const char* name = *change.dtype == DType::kBF16  ? "bfloat16"
                         : *change.dtype == DType::kF16 ? "float16"
                                                        : "float32";
      config[config.contains("torch_dtype") ? "torch_dtype" : "dtype"] = name;
    }
    text = config.dump(2) + "\n";
  }
  return WriteFileAtomically(JoinPath(to, "config.json"), text);
}

}  // namespace lockstep::nn
