#include "trainer/flags/model_folder.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"
#include "trainer/flags/user_path.h"

namespace lockstep {

std::string EnvironmentOr(const char* variable, const std::string& otherwise) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

absl::StatusOr<std::string> FindModelFolder(const std::string& name) {
  const std::string path = UserPath(name);
  if (FileExists(path)) return path;
  const bool hub_id =
      std::count(name.begin(), name.end(), '/') == 1 && name.front() != '/' &&
      name.front() != '.' && name.back() != '/' &&
      std::all_of(name.begin(), name.end(), [](char c) {
        return absl::ascii_isalnum(c) || c == '/' || c == '-' || c == '_' || c == '.';
      });
  if (!hub_id) {
    return UserError("--model", absl::StrCat("there is no folder ", path),
                     "a folder with config.json, *.safetensors and tokenizer.json, or a hub id "
                     "(org/name) whose main revision lies in the local cache");
  }
  const std::string caches =
      EnvironmentOr("XDG_CACHE_HOME", JoinPath(EnvironmentOr("HOME", "/"), ".cache"));
  const std::string home = EnvironmentOr("HF_HOME", JoinPath(caches, "huggingface"));
  const std::string hub =
      EnvironmentOr("HF_HUB_CACHE", EnvironmentOr("HUGGINGFACE_HUB_CACHE", JoinPath(home, "hub")));
  const std::string repository =
      JoinPath(hub, absl::StrCat("models--", absl::StrReplaceAll(name, {{"/", "--"}})));
  const absl::StatusOr<std::string> commit = ReadFile(JoinPath(repository, "refs/main"));
  if (commit.ok()) {
    const std::string snapshot =
        JoinPath(repository, absl::StrCat("snapshots/", absl::StripAsciiWhitespace(*commit)));
    if (FileExists(snapshot)) return snapshot;
  }
  return UserError("--model",
                   absl::StrCat("there is neither a folder ", path, " nor a model in ", repository),
                   absl::StrCat("nothing is downloaded here; hf download ", name, " does it"));
}

std::string ModelName(const std::string& folder) {
  const std::filesystem::path path = std::filesystem::path(folder) / "";  // one slash at the end
  const std::filesystem::path snapshots = path.parent_path().parent_path();
  const std::string repository = snapshots.parent_path().filename();
  absl::string_view id = repository;
  if (snapshots.filename() != "snapshots" || !absl::ConsumePrefix(&id, "models--")) return folder;
  const std::pair<std::string, std::string> parts = absl::StrSplit(id, absl::MaxSplits("--", 1));
  return absl::StrCat(parts.first, parts.second.empty() ? "" : "/", parts.second);
}

}  // namespace lockstep
