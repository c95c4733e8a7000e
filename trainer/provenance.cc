#include "trainer/provenance.h"

#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "trainer/report/environment.h"

namespace lockstep {
namespace {

using Rows = std::vector<std::pair<std::string, std::string>>;

void Take(const Rows& rows, std::initializer_list<const char*> names, Provenance* provenance) {
  for (const auto& [name, value] : rows) {
    for (const char* wanted : names) {
      if (name == wanted) (*provenance)[name] = value;
    }
  }
}

// "cuda:3 NVIDIA H200, 139.8 GiB, driver 580.1" of all ranks, without their numbers: usually one.
std::string Devices(const dist::World& world) {
  std::set<std::string> kinds;
  for (const dist::Member& member : world.members()) {
    const size_t space = member.device.find(' ');
    kinds.insert(space == std::string::npos ? member.device : member.device.substr(space + 1));
  }
  return absl::StrJoin(kinds, "; ");
}

}  // namespace

Provenance ProvenanceOf(const TrainOptions& options, const dist::World& world) {
  Provenance provenance = {{"program", BinaryHash()}};
  const Rows versions = Versions();
  if (options.device == "cuda") {
    provenance["gpus"] = Devices(world);
    Take(versions, {"nvidia driver", "cuda", "cublasLt", "cudnn"}, &provenance);
  } else {
    Take(Hardware(), {"processor"}, &provenance);
    Take(versions, {"onednn"}, &provenance);
  }
  if (!options.in_lockstep()) {
    provenance["ranks"] = absl::StrCat(world.size());
    Take(versions, {options.device == "cuda" ? "nccl" : "gloo"}, &provenance);
  }
  return provenance;
}

std::vector<std::string> ProvenanceChanges(const Provenance& before, const Provenance& now) {
  std::vector<std::string> changes;
  if (before.empty()) return changes;  // written by a version that recorded none
  for (const auto& [name, value] : now) {
    const auto found = before.find(name);
    const std::string old = found == before.end() ? "unknown" : found->second;
    if (old == value) continue;
    changes.push_back(absl::StrCat("warning: ", name, " was ", old, " and is ", value,
                                   ": bits may differ from those of the run so far"));
  }
  return changes;
}

Provenance ReadProvenance(const std::string& run_json) {
  const absl::StatusOr<std::string> text = ReadFile(run_json);
  if (!text.ok()) return {};
  const auto json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("provenance")) return {};
  Provenance provenance;
  for (const auto& [name, value] : json["provenance"].items()) {
    if (value.is_string()) provenance[name] = value.get<std::string>();
  }
  return provenance;
}

}  // namespace lockstep
