// Symbols are looked up by name: that makes every program, also one that links nothing of CUDA,
// report what it really has.
#include "trainer/report/gpu_environment.h"

#include <dlfcn.h>

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "trainer/report/environment.h"

namespace lockstep {
namespace {

using VersionOut = int (*)(int*);         // cudaRuntimeGetVersion, ncclGetVersion, …
using VersionResult = std::size_t (*)();  // cudnnGetVersion, cublasLtGetVersion

template <typename Function>
Function Find(void* library, const char* name) {
  return reinterpret_cast<Function>(dlsym(library, name));
}

// 13000 → "13.0"
std::string OfCuda(int version) { return absl::StrCat(version / 1000, ".", version % 1000 / 10); }

// 130100 → "13.1.0", 22809 → "2.28.9"
std::string OfLibrary(std::size_t version) {
  return absl::StrCat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

// "NVRM version: NVIDIA UNIX … Module  580.95.05  Release Build …" → "580.95.05".
std::string KernelModule() {
  const absl::StatusOr<std::string> text = ReadFile("/proc/driver/nvidia/version");
  if (!text.ok()) return "";
  const std::vector<absl::string_view> lines = absl::StrSplit(*text, '\n');
  for (const absl::string_view word : absl::StrSplit(lines[0], ' ', absl::SkipEmpty())) {
    const bool number = word.find_first_not_of("0123456789.") == absl::string_view::npos;
    if (number && word.find('.') != absl::string_view::npos) return absl::StrCat(word, ", ");
  }
  return "";
}

// The driver's library, initialized; null without one, or without a GPU that may be used.
void* Driver() {
  static void* const driver = [] {
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    const auto init = library ? Find<int (*)(unsigned)>(library, "cuInit") : nullptr;
    return init != nullptr && init(0) == 0 ? library : nullptr;
  }();
  return driver;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> CudaVersions() {
  std::vector<std::pair<std::string, std::string>> versions;
  int version = 0;
  if (const auto cuda = Find<VersionOut>(RTLD_DEFAULT, "cudaRuntimeGetVersion")) {
    if (cuda(&version) == 0) versions.push_back({"cuda", OfCuda(version)});
  }
  if (const auto cublas = Find<VersionResult>(RTLD_DEFAULT, "cublasLtGetVersion")) {
    versions.push_back({"cublasLt", OfLibrary(cublas())});
  }
  if (const auto cudnn = Find<VersionResult>(RTLD_DEFAULT, "cudnnGetVersion")) {
    versions.push_back({"cudnn", OfLibrary(cudnn())});
  }
  if (const auto nccl = Find<VersionOut>(RTLD_DEFAULT, "ncclGetVersion")) {
    if (nccl(&version) == 0) versions.push_back({"nccl", OfLibrary(version)});
  }
  if (Driver() != nullptr) {
    const auto driver = Find<VersionOut>(Driver(), "cuDriverGetVersion");
    if (driver != nullptr && driver(&version) == 0) {
      versions.push_back({"nvidia driver", absl::StrCat(KernelModule(), "CUDA ", OfCuda(version))});
    }
  }
  return versions;
}

std::vector<std::pair<std::string, std::string>> Gpus() {
  std::vector<std::pair<std::string, std::string>> gpus;
  if (Driver() == nullptr) return gpus;
  const auto count_of = Find<int (*)(int*)>(Driver(), "cuDeviceGetCount");
  const auto name_of = Find<int (*)(char*, int, int)>(Driver(), "cuDeviceGetName");
  const auto memory_of = Find<int (*)(std::size_t*, int)>(Driver(), "cuDeviceTotalMem_v2");
  int count = 0;
  if (!count_of || !name_of || !memory_of || count_of(&count) != 0) return gpus;
  for (int i = 0; i < count; ++i) {
    char name[128] = "";
    std::size_t bytes = 0;
    if (name_of(name, sizeof(name), i) != 0 || memory_of(&bytes, i) != 0) continue;
    gpus.push_back(
        {absl::StrCat("gpu ", i),
         absl::StrFormat("%s, %.1f GiB", name, static_cast<double>(bytes) / (int64_t{1} << 30))});
  }
  return gpus;
}

}  // namespace lockstep
