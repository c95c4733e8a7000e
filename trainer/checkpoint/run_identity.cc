#include "trainer/checkpoint/run_identity.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"

namespace lockstep {
namespace {

// Of a file: all of it up to 16 MiB, else 64 blocks of 64 KiB spread from the first byte to the
// last.
std::string SampledHash(absl::string_view bytes) {
  constexpr size_t kWhole = size_t{16} << 20, kBlock = size_t{64} << 10, kBlocks = 64;
  if (bytes.size() <= kWhole) return HashHex(bytes);
  std::string sample;
  for (size_t i = 0; i < kBlocks; ++i) {
    const size_t at = (bytes.size() - kBlock) / (kBlocks - 1) * i;
    absl::StrAppend(&sample, bytes.substr(at, kBlock));
  }
  absl::StrAppend(&sample, bytes.substr(bytes.size() - kBlock));
  return HashHex(sample);
}

// As "--eval_steps was without effect and is "10"": an option's empty value stands for none.
std::string WhatDiffers(absl::string_view name, const std::string* was, const std::string& is) {
  const auto shown = [](const std::string& value) {
    return value.empty() ? "not given" : absl::StrCat("\"", value, "\"");
  };
  if (absl::StartsWith(name, "content of ")) {
    const bool is_tokens = absl::EndsWith(name, "_file");
    return absl::StrCat(name, is_tokens ? " gives other tokens (by the file, the tokenizer, the "
                                          "template, a data flag or this program's version)"
                                        : " is another");
  }
  return absl::StrCat("--", name, " was ", was == nullptr ? "without effect" : shown(*was),
                      " and is ", shown(is));
}

}  // namespace

absl::StatusOr<std::string> FolderFingerprint(const std::string& folder) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesIn(folder));
  std::string all;
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, ".safetensors") && name != "config.json" &&
        name != "adapter_config.json") {
      continue;
    }
    ASSIGN_OR_RETURN(const auto file, MappedFile::Open(JoinPath(folder, name)));
    absl::StrAppend(&all, name, " ", file->size(), " ", SampledHash(file->view()), "\n");
  }
  return HashHex(all);
}

absl::StatusOr<RunIdentity> IdentityOf(const TrainOptions& options, const Documents& documents) {
  RunIdentity identity = options.identity;
  identity.erase("tokens_per_pack");  // the checkpoint's wins; see DecideStart
  identity["content of --train_file"] = documents.train->ContentHash();
  identity["content of --validation_file"] =
      documents.validation ? documents.validation->ContentHash() : "none";
  ASSIGN_OR_RETURN(identity["content of --model"], FolderFingerprint(options.data.model));
  identity["content of --init_adapter"] = "none";
  if (!options.model.adapter.empty()) {
    ASSIGN_OR_RETURN(identity["content of --init_adapter"],
                     FolderFingerprint(options.model.adapter));
  }
  return identity;
}

absl::Status CompareRuns(absl::string_view where, const RunIdentity& stored,
                         const RunIdentity& now) {
  std::string differences;
  int count = 0;
  for (const auto& [name, value] : now) {
    const auto before = stored.find(name);
    const std::string* const old = before == stored.end() ? nullptr : &before->second;
    if ((old != nullptr ? *old : "") == value || ++count > 4) continue;
    absl::StrAppend(&differences, count > 1 ? "; " : "", WhatDiffers(name, old, value));
  }
  if (count == 0) return absl::OkStatus();
  if (count > 4) absl::StrAppend(&differences, "; and ", count - 4, " more");
  return UserError(where, absl::StrCat("holds another run: ", differences),
                   "give another --output_dir, or the options of that run (its run.flags); "
                   "--init_adapter begins a new run with its adapter");
}

}  // namespace lockstep
