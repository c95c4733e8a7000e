#include "trainer/run_folder.h"

#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/model_files.h"
#include "base/status.h"
#include "trainer/flags/parse_flags.h"
#include "trainer/run_files.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

// Files of the model's folder that belong to its tokenizer, those that may be there.
absl::StatusOr<std::vector<std::string>> TokenizerFiles(const std::string& model) {
  std::vector<std::string> names(std::begin(kTokenizerFiles), std::end(kTokenizerFiles));
  const std::string templates = JoinPath(model, kMoreTemplates);
  if (!FileExists(templates)) return names;
  ASSIGN_OR_RETURN(const std::vector<std::string> more, NamesIn(templates));
  for (const std::string& name : more) {
    if (absl::EndsWith(name, ".jinja")) names.push_back(JoinPath(kMoreTemplates, name));
  }
  return names;
}

}  // namespace

absl::Status CreateRunFolder(const RunStart& start, const TrainOptions& options,
                             int64_t tokens_per_pack) {
  RETURN_IF_ERROR(MakeDirectories(JoinPath(start.folder, "logs")));
  for (const char* name : {"run.json", "run.flags"}) {
    AtomicFile::RemoveRemains(JoinPath(start.folder, name));
  }
  for (const char* name : kOwnFiles) AtomicFile::RemoveRemains(JoinPath(start.folder, name));
  FlagValues flags = options.run_flags;
  std::erase_if(flags, [](const auto& flag) {
    return flag.first == "tokens_per_pack" || flag.first == "output_dir";
  });
  flags.push_back({"tokens_per_pack", absl::StrCat(tokens_per_pack)});
  flags.push_back({"output_dir", start.folder});
  return WriteFileAtomically(JoinPath(start.folder, "run.flags"), FlagFile(flags));
}

absl::Status CopyTokenizerFiles(const RunStart& start, const TrainOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<std::string> files, TokenizerFiles(options.data.model));
  for (const std::string& name : files) {
    const std::string source = JoinPath(options.data.model, name);
    const fs::path copy = JoinPath(start.folder, name);
    AtomicFile::RemoveRemains(copy.string());
    if (!FileExists(source)) continue;
    ASSIGN_OR_RETURN(const std::string content, ReadFile(source));
    RETURN_IF_ERROR(MakeDirectories(copy.parent_path().string()));
    RETURN_IF_ERROR(WriteFileAtomically(copy.string(), content));
  }
  return absl::OkStatus();
}

}  // namespace lockstep
