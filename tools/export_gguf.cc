// One file of a model for llama.cpp; docs/tools.md.
#include <gflags/gflags.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/file_lock.h"
#include "base/status.h"
#include "nn/merge.h"
#include "tensor/runtime.h"
#include "tools/gguf/export.h"
#include "trainer/flags/flag_values.h"
#include "trainer/flags/model_folder.h"
#include "trainer/flags/program.h"
#include "trainer/flags/user_path.h"

DEFINE_string(model, "",
              "Folder with config.json, *.safetensors and tokenizer.json, or a hub id that lies in "
              "the local cache.");
DEFINE_string(adapter, "", "A PEFT adapter's folder: it is merged into the weights first.");
DEFINE_string(output, "", "The file to write, e.g. model.gguf.");
DEFINE_string(type, "f16", "Of the matrices: f32, f16, bf16 or q8_0. Norms and biases stay f32.");

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr char kUsage[] =
    "Writes a model, and an adapter merged into it, as one GGUF file that llama.cpp loads.\n"
    "Families: llama, mistral, qwen2, qwen3.\n\n"
    "  export_gguf --model=DIR [--adapter=DIR] --output=model.gguf [--type=q8_0]";

absl::StatusOr<GgufType> TypeFlag() {
  return Choice<GgufType>("type", FLAGS_type,
                          {{"f32", GgufType::kF32},
                           {"f16", GgufType::kF16},
                           {"bf16", GgufType::kBF16},
                           {"q8_0", GgufType::kQ8_0}});
}

// The last part of a path.
std::string NameOf(absl::string_view path) {
  path = absl::StripSuffix(path, "/");
  return std::string(path.substr(path.rfind('/') + 1));
}

// Where a merged model lies while it is read: beside the output, locked, and gone with this.
class MergedFolder {
 public:
  ~MergedFolder() { Remove(path_); }

  absl::Status Make(const std::string& output) {
    const std::string start = absl::StrCat(output, ".merged-for-export-");
    RemoveRemains(start);
    path_ = absl::StrCat(start, "XXXXXX");
    if (mkdtemp(path_.data()) == nullptr) {
      return SystemError(output, "cannot make a folder beside it", errno);
    }
    (void)lock_.TakeFolder(path_, 0);  // a file system without locks keeps remains, too
    return absl::OkStatus();
  }
  const std::string& path() const { return path_; }

 private:
  static void Remove(const std::string& folder) {
    std::error_code stays;
    fs::remove_all(folder, stays);
  }

  // Those that killed processes have left: nobody holds them, on any host.
  static void RemoveRemains(const std::string& start) {
    const auto remains = PathsThatStartWith(start);
    for (const std::string& left : remains.value_or(std::vector<std::string>())) {
      if (FileLock lock; lock.TakeFolder(left, 0).value_or(false)) Remove(left);
    }
  }

  std::string path_;
  FileLock lock_;
};

// A file of something else, a model's for one, stays as it is; one of nothing, as mktemp makes it,
// is written over.
absl::Status WantNoOtherFile(const std::string& output) {
  constexpr size_t kMagicBytes = 4;
  std::error_code none;
  if (!fs::is_regular_file(output, none)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto there, MappedFile::Open(output));
  const absl::string_view begin = there->view().substr(0, kMagicBytes);
  if (begin.empty() || begin == "GGUF") return absl::OkStatus();
  return UserError("--output", absl::StrCat(output, " is there already, and no GGUF file"),
                   "choose a new name");
}

// The merged model in fp32, as a folder.
absl::Status Merge(const std::string& model, const std::string& folder) {
  ASSIGN_OR_RETURN(const auto runtime, Runtime::Open(Device{DeviceType::kCPU, 0}));
  nn::MergeOptions options;
  options.model = model;
  options.adapter = UserPath(FLAGS_adapter);
  options.output = folder;
  options.dtype = DType::kF32;
  ASSIGN_OR_RETURN(const nn::MergeReport report, nn::MergeAdapter(runtime->context(), options));
  for (const std::string& warning : report.warnings) {
    absl::FPrintF(stderr, "warning: %s\n", warning);
  }
  return absl::OkStatus();
}

absl::Status Run() {
  RETURN_IF_ERROR(WantFlags({"model", "output"}));
  ASSIGN_OR_RETURN(const GgufType type, TypeFlag());
  ASSIGN_OR_RETURN(const std::string model, FindModelFolder(FLAGS_model));
  const std::string output = UserPath(FLAGS_output);
  RETURN_IF_ERROR(WantNoOtherFile(output));
  MergedFolder merged;
  if (!FLAGS_adapter.empty()) {
    RETURN_IF_ERROR(merged.Make(output));
    RETURN_IF_ERROR(Merge(model, merged.path()));
  }
  ASSIGN_OR_RETURN(
      const ExportReport report,
      ExportGguf(FLAGS_adapter.empty() ? model : merged.path(), NameOf(FLAGS_model), output, type));
  for (const std::string& warning : report.warnings) {
    absl::FPrintF(stderr, "warning: %s\n", warning);
  }
  absl::PrintF("%s: %d tensors, %d bytes of %s\n", output, report.tensors, report.bytes,
               FLAGS_type);
  return absl::OkStatus();
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  return lockstep::ToolMain(argc, argv, lockstep::kUsage, lockstep::Run);
}
