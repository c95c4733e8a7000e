// Lists the tensors of safetensors files; docs/tools.md.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "nn/safetensors.h"
#include "trainer/flags/program.h"
#include "trainer/flags/user_path.h"

namespace lockstep {
namespace {

constexpr char kUsage[] =
    "Lists tensors: one a line, in the order of the file, as NAME DTYPE [SHAPE] HASH. The\n"
    "hash is XXH3-128 of the tensor's bytes. A file's metadata and totals go to standard\n"
    "error.\n\n"
    "  inspect FILE.safetensors…\n"
    "  inspect FOLDER               a model, an adapter or a checkpoint: all its *.safetensors";

// The safetensors files that `path` means.
absl::StatusOr<std::vector<std::string>> FilesOf(const std::string& path) {
  std::error_code none;
  if (!std::filesystem::is_directory(path, none)) return std::vector<std::string>{path};
  ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesIn(path));
  std::vector<std::string> files;
  for (const std::string& name : names) {
    if (absl::EndsWith(name, ".safetensors")) files.push_back(JoinPath(path, name));
  }
  if (files.empty()) return UserError(path, "this folder has no *.safetensors");
  return files;
}

std::string HashOf(const nn::SafetensorsFile& file, const nn::StoredTensor& tensor) {
  constexpr uint64_t kPart = 1 << 26;
  Hasher hasher;
  for (uint64_t begin = 0; begin < tensor.bytes; begin += kPart) {
    hasher.Update({reinterpret_cast<const char*>(file.data(tensor)) + begin,
                   std::min(kPart, tensor.bytes - begin)});
  }
  file.Release(tensor);
  return hasher.Hex();
}

absl::Status Inspect(const std::string& path) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const nn::SafetensorsFile> file,
                   nn::SafetensorsFile::Open(path));
  int64_t elements = 0;
  uint64_t bytes = 0;
  for (const nn::StoredTensor& tensor : file->tensors()) {
    absl::PrintF("%s %s [%s] %s\n", tensor.name, tensor.dtype, absl::StrJoin(tensor.shape, ", "),
                 HashOf(*file, tensor));
    elements += tensor.numel();
    bytes += tensor.bytes;
  }
  std::fflush(stdout);  // both may go to one file
  absl::FPrintF(stderr, "%s: %d tensors, %d elements, %d bytes\n", path, file->tensors().size(),
                elements, bytes);
  for (const auto& [key, value] : file->metadata()) {
    absl::FPrintF(stderr, "  %s: %s\n", key, value);
  }
  return absl::OkStatus();
}

absl::Status Run(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    return UserError("arguments", "want a file or a folder, got nothing",
                     "inspect model.safetensors");
  }
  for (const std::string& argument : arguments) {
    ASSIGN_OR_RETURN(const std::vector<std::string> files, FilesOf(UserPath(argument)));
    for (const std::string& file : files) RETURN_IF_ERROR(Inspect(file));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  return lockstep::ToolMain(argc, argv, lockstep::kUsage, lockstep::Run);
}
