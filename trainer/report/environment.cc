#include "trainer/report/environment.h"

#include <dnnl_version.h>
#include <gloo/config.h>
#include <library_versions.h>
#include <simdjson.h>
#include <sys/utsname.h>
#include <unicode/uvernum.h>
#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "absl/base/config.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/num_cores.h"
#include "base/number.h"
#include "trainer/report/gpu_environment.h"

namespace lockstep {
namespace {

// The value behind "key:" in a file like /proc/cpuinfo; "" if there is none.
std::string LineOf(const char* path, absl::string_view key) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return "";
  for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(':', 1));
    if (absl::StripAsciiWhitespace(parts.first) == key) {
      return std::string(absl::StripAsciiWhitespace(parts.second));
    }
  }
  return "";
}

int64_t BytesOf(const std::string& text) {  // "16384 kB"
  int64_t kibibytes = 0;
  const std::vector<std::string> words = absl::StrSplit(text, ' ');
  return !words.empty() && absl::SimpleAtoi(words[0], &kibibytes) ? kibibytes * 1024 : 0;
}

int64_t NumberIn(const char* path, int64_t otherwise) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  int64_t number;
  return text.ok() && absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &number) ? number
                                                                                   : otherwise;
}

// What a control group of version 2 or 1 still allows: cached files of it give way.
int64_t LeftInCgroup(const char* limit_path, const char* usage_path, const char* stat_path,
                     absl::string_view cached_key) {
  const int64_t limit = NumberIn(limit_path, INT64_MAX);
  if (limit == INT64_MAX) return INT64_MAX;  // "max", or no such file
  int64_t cached = 0;
  const absl::StatusOr<std::string> stat = ReadFile(stat_path);
  for (absl::string_view line : absl::StrSplit(stat.value_or(""), '\n')) {
    if (absl::ConsumePrefix(&line, cached_key) && absl::SimpleAtoi(line, &cached)) break;
  }
  return std::max<int64_t>(0, limit - NumberIn(usage_path, 0) + cached);
}

}  // namespace

std::vector<std::pair<std::string, std::string>> Versions() {
  std::vector<std::pair<std::string, std::string>> versions = {
      {"lockstep", kVersion},
      {"compiler", absl::StrCat("gcc ", __VERSION__)},
      {"abseil", absl::StrCat(ABSL_LTS_RELEASE_VERSION)},
      {"gflags", GFLAGS_VERSION},
      {"glog", GLOG_VERSION},
      {"gloo", absl::StrCat(GLOO_VERSION_MAJOR, ".", GLOO_VERSION_MINOR, ".", GLOO_VERSION_PATCH)},
      {"icu", U_ICU_VERSION},
      {"nlohmann json", absl::StrCat(NLOHMANN_JSON_VERSION_MAJOR, ".", NLOHMANN_JSON_VERSION_MINOR,
                                     ".", NLOHMANN_JSON_VERSION_PATCH)},
      {"onednn",
       absl::StrCat(DNNL_VERSION_MAJOR, ".", DNNL_VERSION_MINOR, ".", DNNL_VERSION_PATCH)},
      {"pcre2", absl::StrCat(PCRE2_MAJOR, ".", PCRE2_MINOR)},
      {"simdjson",
       absl::StrCat(simdjson::SIMDJSON_VERSION_MAJOR, ".", simdjson::SIMDJSON_VERSION_MINOR, ".",
                    simdjson::SIMDJSON_VERSION_REVISION)},
      {"xxhash", absl::StrCat(XXH_VERSION_MAJOR, ".", XXH_VERSION_MINOR, ".", XXH_VERSION_RELEASE)},
      {"zlib", ZLIB_VERSION},
      {"zstd", ZSTD_VERSION_STRING},
  };
  for (auto& version : CudaVersions()) versions.push_back(std::move(version));
  return versions;
}

std::vector<std::pair<std::string, std::string>> Hardware() {
  utsname system{};
  uname(&system);
  std::vector<std::pair<std::string, std::string>> hardware = {
      {"host", system.nodename},
      {"processor", LineOf("/proc/cpuinfo", "model name")},
      {"cores", absl::StrCat(NumCores())},
      {"memory", HumanBytes(static_cast<double>(BytesOf(LineOf("/proc/meminfo", "MemTotal"))))},
      {"system", absl::StrCat(system.sysname, " ", system.release)},
  };
  for (auto& gpu : Gpus()) hardware.push_back(std::move(gpu));
  return hardware;
}

int64_t AvailableMemory() {
  const int64_t available = BytesOf(LineOf("/proc/meminfo", "MemAvailable"));
  return std::min({available,
                   LeftInCgroup("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current",
                                "/sys/fs/cgroup/memory.stat", "inactive_file "),
                   LeftInCgroup("/sys/fs/cgroup/memory/memory.limit_in_bytes",
                                "/sys/fs/cgroup/memory/memory.usage_in_bytes",
                                "/sys/fs/cgroup/memory/memory.stat", "total_inactive_file ")});
}

std::string BinaryHash() {
  static const auto& hash = *new std::string([] {
    const auto file = MappedFile::Open("/proc/self/exe");
    return file.ok() ? HashHex((*file)->view()) : "unknown";
  }());
  return hash;
}

}  // namespace lockstep
