#include <cupti.h>
#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>

#include "base/check.h"
#include "tools/benchmarks/activity.h"

namespace lockstep {
namespace {

#define CUPTI_CHECK(call) CHECK_EQ((call), CUPTI_SUCCESS) << "[cupti] " #call

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

void Add(std::string name, uint64_t start, uint64_t end) {
  seen.push_back(
      {std::move(name), static_cast<double>(start) * 1e-3, static_cast<double>(end) * 1e-3});
}

void CUPTIAPI Request(uint8_t** buffer, size_t* size, size_t* max_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *size = kBufferBytes;
  *max_records = 0;
}

void CUPTIAPI Complete(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  std::lock_guard<std::mutex> lock(mutex);
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
      const auto* kernel = reinterpret_cast<const CUpti_ActivityKernel10*>(record);
      Add(ShortName(kernel->name) + " " + std::to_string(kernel->gridX) + "x" +
              std::to_string(kernel->gridY) + "x" + std::to_string(kernel->gridZ),
          kernel->start, kernel->end);
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
      const auto* copy = reinterpret_cast<const CUpti_ActivityMemcpy6*>(record);
      Add("copy of " + std::to_string(copy->bytes) + " bytes", copy->start, copy->end);
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
      const auto* fill = reinterpret_cast<const CUpti_ActivityMemset4*>(record);
      Add("fill of " + std::to_string(fill->bytes) + " bytes", fill->start, fill->end);
    }
  }
  std::free(buffer);
}

}  // namespace

void StartWatching() {
  CUPTI_CHECK(cuptiActivityRegisterCallbacks(Request, Complete));
  for (const CUpti_ActivityKind kind : kKinds) CUPTI_CHECK(cuptiActivityEnable(kind));
}

std::vector<Activity> StopWatching() {
  CUPTI_CHECK(cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED));
  for (const CUpti_ActivityKind kind : kKinds) CUPTI_CHECK(cuptiActivityDisable(kind));
  std::lock_guard<std::mutex> lock(mutex);
  std::vector<Activity> result = std::move(seen);
  seen.clear();
  std::sort(result.begin(), result.end(),
            [](const Activity& a, const Activity& b) { return a.start_us < b.start_us; });
  return result;
}

}  // namespace lockstep
