#include <cuda_runtime_api.h>
#include <cupti.h>
#include <cxxabi.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "tensor/profile/activity.h"

namespace lockstep::profile {
namespace {

#define CUPTI_CHECK(call) CHECK_EQ((call), CUPTI_SUCCESS) << "[cupti] " #call

// CUPTI is opened when it is wanted, so that programs run where it is not installed.
struct Cupti {
  decltype(&cuptiActivityRegisterCallbacks) register_callbacks;
  decltype(&cuptiActivityEnable) enable;
  decltype(&cuptiActivityDisable) disable;
  decltype(&cuptiActivityFlushAll) flush_all;
  decltype(&cuptiActivityGetNextRecord) next_record;
  decltype(&cuptiGetTimestamp) now;
};
const Cupti* library = nullptr;

absl::Status Load() {
  if (library != nullptr) return absl::OkStatus();
  // Of the toolkit's own version: records have the layout of its header.
  const std::string name = absl::StrCat("libcupti.so.", CUDART_VERSION / 1000);
  void* handle = nullptr;
  for (const char* folder : {"", "/usr/local/cuda/lib64/", "/usr/local/cuda/extras/CUPTI/lib64/"}) {
    if (handle == nullptr) handle = dlopen(absl::StrCat(folder, name).c_str(), RTLD_NOW);
  }
  if (handle == nullptr) {
    return UserError("profile", absl::StrCat("want ", name, ": ", dlerror()),
                     "it comes with the CUDA toolkit; LD_LIBRARY_PATH says where it lies");
  }
  auto* loaded = new Cupti;
  const auto find = [&](auto& function, const char* symbol) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, symbol));
    CHECK(function != nullptr) << "[cupti] " << name << " has no " << symbol;
  };
  find(loaded->register_callbacks, "cuptiActivityRegisterCallbacks");
  find(loaded->enable, "cuptiActivityEnable");
  find(loaded->disable, "cuptiActivityDisable");
  find(loaded->flush_all, "cuptiActivityFlushAll");
  find(loaded->next_record, "cuptiActivityGetNextRecord");
  find(loaded->now, "cuptiGetTimestamp");
  library = loaded;
  return absl::OkStatus();
}

constexpr size_t kBufferBytes = size_t{8} << 20;
constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
                                         CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMSET};

std::mutex mutex;
std::vector<Activity> seen;

// "lockstep::kernels::cuda::(anonymous namespace)::GluKernel<…>(…)" → "GluKernel<…>".
std::string ShortName(const char* mangled) {
  int status = 0;
  char* demangled = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string name = status == 0 ? demangled : mangled;
  std::free(demangled);
  if (const size_t arguments = name.rfind(")("); arguments != std::string::npos) {
    const size_t scope = name.find("::", arguments);
    if (scope == std::string::npos) name.resize(arguments + 1);
  }
  if (const size_t open = name.find('(');
      open != std::string::npos && open > 0 && name.compare(open, 11, "(anonymous ") != 0) {
    name.resize(open);
  }
  constexpr char kAnonymous[] = "(anonymous namespace)::";
  if (const size_t own = name.find(kAnonymous); own != std::string::npos) {
    name = name.substr(own + sizeof(kAnonymous) - 1);
    if (const size_t arguments = name.find(">("); arguments != std::string::npos) {
      name.resize(arguments + 1);
    } else if (const size_t open = name.find('('); open != std::string::npos) {
      name.resize(open);
    }
  }
  if (name.size() > 90) name.resize(90);
  return name;
}

template <typename Record>
void Add(std::string name, const Record& record) {
  seen.push_back({std::move(name), static_cast<double>(record.start) * 1e-3,
                  static_cast<double>(record.end) * 1e-3, static_cast<int>(record.streamId)});
}

void CUPTIAPI Request(uint8_t** buffer, size_t* size, size_t* max_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *size = kBufferBytes;
  *max_records = 0;
}

void CUPTIAPI Complete(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  std::lock_guard<std::mutex> lock(mutex);
  CUpti_Activity* record = nullptr;
  while (library->next_record(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
      const auto* kernel = reinterpret_cast<const CUpti_ActivityKernel10*>(record);
      Add(ShortName(kernel->name) + " " + std::to_string(kernel->gridX) + "x" +
              std::to_string(kernel->gridY) + "x" + std::to_string(kernel->gridZ),
          *kernel);
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
      const auto* copy = reinterpret_cast<const CUpti_ActivityMemcpy6*>(record);
      Add("copy of " + std::to_string(copy->bytes) + " bytes", *copy);
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
      const auto* fill = reinterpret_cast<const CUpti_ActivityMemset4*>(record);
      Add("fill of " + std::to_string(fill->bytes) + " bytes", *fill);
    }
  }
  std::free(buffer);
}

}  // namespace

absl::Status StartWatching() {
  RETURN_IF_ERROR(Load());
  CUPTI_CHECK(library->register_callbacks(Request, Complete));
  for (const CUpti_ActivityKind kind : kKinds) CUPTI_CHECK(library->enable(kind));
  return absl::OkStatus();
}

std::vector<Activity> StopWatching() {
  CUPTI_CHECK(library->flush_all(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED));
  for (const CUpti_ActivityKind kind : kKinds) CUPTI_CHECK(library->disable(kind));
  std::lock_guard<std::mutex> lock(mutex);
  std::vector<Activity> result = std::move(seen);
  seen.clear();
  std::sort(result.begin(), result.end(),
            [](const Activity& a, const Activity& b) { return a.start_us < b.start_us; });
  return result;
}

double NowUs() {
  uint64_t now = 0;
  CHECK(library != nullptr) << "[profile] nobody watches";
  CUPTI_CHECK(library->now(&now));
  return static_cast<double>(now) * 1e-3;
}

}  // namespace lockstep::profile
