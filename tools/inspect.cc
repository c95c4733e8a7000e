// inspect: what is in a safetensors file, or in all of a folder's.
#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/hash.h"
#include "base/status.h"
#include "gflags/gflags.h"
#include "nn/safetensors.h"
#include "tools/tool_main.h"

DEFINE_bool(hashes, true, "read the data and print a hash of each tensor");

namespace lockstep {
namespace {

constexpr char kUsage[] =
    "Prints every tensor of a safetensors file, or of a folder's: name, dtype, shape, hash.\n"
    "  inspect FILE_OR_FOLDER";

absl::Status Inspect(const std::string& path) {
  ASSIGN_OR_RETURN(const auto file, nn::SafetensorsFile::Open(path));
  for (const auto& [key, value] : file->metadata()) {
    std::printf("# %s: %s\n", key.c_str(), value.c_str());
  }
  uint64_t bytes = 0;
  for (const nn::StoredTensor& tensor : file->tensors()) {
    std::string line =
        absl::StrCat(tensor.name, " ", tensor.dtype, " [", absl::StrJoin(tensor.shape, ", "), "]");
    if (FLAGS_hashes) {
      const auto* data = reinterpret_cast<const char*>(file->data(tensor));
      absl::StrAppend(&line, " ", HashHex({data, tensor.bytes}));
      file->Release(tensor);
    }
    std::printf("%s\n", line.c_str());
    bytes += tensor.bytes;
  }
  std::printf("# %s: %zu tensors, %llu bytes of data\n", path.c_str(), file->tensors().size(),
              static_cast<unsigned long long>(bytes));
  return absl::OkStatus();
}

absl::Status Run(const std::vector<std::string>& arguments) {
  if (arguments.size() != 1) {
    return UserError("inspect", absl::StrCat("want one file or folder, got ", arguments.size()),
                     kUsage);
  }
  const std::string path = UserPath(arguments[0]);
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return Inspect(path);
  std::vector<std::string> files;
  for (std::filesystem::recursive_directory_iterator it(path, error), end; it != end;
       it.increment(error)) {
    if (error) break;
    if (it->path().extension() == ".safetensors") files.push_back(it->path());
  }
  if (error) return SystemError(path, "cannot read folder", error.value());
  if (files.empty()) return UserError(path, "no *.safetensors in this folder");
  std::sort(files.begin(), files.end());
  for (const std::string& file : files) RETURN_IF_ERROR(Inspect(file));
  return absl::OkStatus();
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  return lockstep::ToolMain(argc, argv, lockstep::kUsage, lockstep::Run);
}
