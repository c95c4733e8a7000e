#include "trainer/run_folder.h"

#include <simdjson.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"
#include "trainer/flags/command_line.h"
#include "trainer/report/environment.h"

namespace lockstep {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

struct StoredRun {
  RunIdentity identity;
  std::string state;
};
absl::StatusOr<StoredRun> ReadRunJson(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  try {
    const Json json = Json::parse(text);
    return StoredRun{json.at("identity").get<RunIdentity>(), json.at("state").get<std::string>()};
  } catch (const Json::exception& wrong) {
    return UserError(path, absl::StrCat("not a run's description: ", wrong.what()),
                     "give another --output_dir");
  }
}

// A folder without run.json that holds what a run would write.
absl::Status RefuseForeignFiles(const std::string& folder) {
  for (const char* name : {"metrics.jsonl", "adapter_model.safetensors", "model.safetensors",
                           "checkpoints", "config.json"}) {
    if (!FileExists(JoinPath(folder, name))) continue;
    return UserError(folder, absl::StrCat("holds a ", name, " of something else"),
                     "give another --output_dir");
  }
  return absl::OkStatus();
}

absl::Status CheckTokensPerPack(const TrainOptions& options, const CheckpointState& state,
                                const std::string& where) {
  const int64_t wanted = options.data.tokens_per_pack.value_or(state.tokens_per_pack);
  if (wanted == state.tokens_per_pack) return absl::OkStatus();
  return UserError(where,
                   absl::StrCat("holds another run: --tokens_per_pack was ", state.tokens_per_pack,
                                " and is ", wanted),
                   "leave the flag out: the checkpoint's value holds");
}

absl::StatusOr<RunStart> ResumeFrom(RunStart start, const std::string& checkpoint,
                                    const TrainOptions& options, const RunIdentity& identity) {
  ASSIGN_OR_RETURN(start.state, ReadCheckpoint(checkpoint));
  RETURN_IF_ERROR(CompareRuns(checkpoint, start.state.identity, identity));
  RETURN_IF_ERROR(CheckTokensPerPack(options, start.state, checkpoint));
  start.kind = RunStart::Kind::kResume;
  start.checkpoint = checkpoint;
  return start;
}

// The newest checkpoint that is whole; a damaged one is named and passed over.
absl::StatusOr<RunStart> ResumeFromNewest(RunStart start, const TrainOptions& options,
                                          const RunIdentity& identity) {
  std::vector<std::string> checkpoints = ListCheckpoints(CheckpointFolder(start));
  std::reverse(checkpoints.begin(), checkpoints.end());
  for (const std::string& checkpoint : checkpoints) {
    const auto whole = ReadCheckpoint(checkpoint);
    if (whole.ok()) return ResumeFrom(start, checkpoint, options, identity);
    const std::vector<std::string> lines = absl::StrSplit(whole.status().message(), '\n');
    start.notes.push_back(absl::StrCat("warning: passed over: ", lines[0]));
  }
  if (!checkpoints.empty()) start.notes.push_back("warning: no checkpoint is whole: begins anew");
  return start;
}

// --resume_from_checkpoint is neither auto nor none.
absl::Status WantACheckpoint(const std::string& folder) {
  if (FileExists(JoinPath(folder, "state.json"))) return absl::OkStatus();
  const std::vector<std::string> inside = ListCheckpoints(JoinPath(folder, "checkpoints"));
  return UserError("--resume_from_checkpoint",
                   absl::StrCat("want auto, none or a checkpoint's folder; there is no ",
                                JoinPath(folder, "state.json")),
                   inside.empty() ? "a run's checkpoints are in its folder's checkpoints/"
                                  : absl::StrCat("the newest of that run is ", inside.back()));
}

// Whether a run that ended by itself still has what it was for.
bool HoldsResult(const std::string& folder) {
  for (const char* name :
       {"adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json"}) {
    if (FileExists(JoinPath(folder, name))) return true;
  }
  return false;
}

// Files of the model's folder that belong to its tokenizer, those that may be there.
std::vector<std::string> TokenizerFiles(const std::string& model) {
  std::vector<std::string> names = {"tokenizer.json",
                                    "tokenizer_config.json",
                                    "special_tokens_map.json",
                                    "added_tokens.json",
                                    "tokenizer.model",
                                    "vocab.json",
                                    "merges.txt",
                                    "chat_template.jinja",
                                    "chat_template.json",
                                    "generation_config.json"};
  constexpr char kMore[] = "additional_chat_templates";
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(JoinPath(model, kMore), none)) {
    if (!entry.is_regular_file(none)) continue;
    names.push_back(JoinPath(kMore, entry.path().filename().string()));
  }
  return names;
}

}  // namespace

void SayThatItIsFinished(const RunStart& start) {
  std::printf("%s holds this run, finished; nothing is done\n", start.folder.c_str());
}

std::string CheckpointFolder(const RunStart& start) {
  return JoinPath(start.folder, "checkpoints");
}

std::string SameCommand(const RunStart& start, const TrainOptions& options) {
  const bool goes_on = options.resume_from_checkpoint == "auto";
  return absl::StrCat("the same command with --output_dir=", start.folder,
                      goes_on ? "" : " --resume_from_checkpoint=auto");
}

std::string HowItGoesOn(const RunStart& start, const TrainOptions& options) {
  const std::vector<std::string> checkpoints = ListCheckpoints(CheckpointFolder(start));
  if (checkpoints.empty()) return "";
  return absl::StrCat(SameCommand(start, options), " goes on from ",
                      fs::path(checkpoints.back()).filename().string());
}

absl::StatusOr<RunStart> DecideStart(const std::string& folder, const TrainOptions& options,
                                     const RunIdentity& identity) {
  RunStart start;
  start.folder = folder;
  if (!simdjson::validate_utf8(start.folder)) {  // of the folder that we are in
    return UserError("--output_dir",
                     absl::StrCat("want a path in UTF-8, got ", absl::CHexEscape(start.folder)),
                     "name another folder by an absolute path");
  }
  const std::string run_json = JoinPath(start.folder, "run.json");
  const bool holds_run = FileExists(run_json);
  const std::string& resume = options.resume_from_checkpoint;
  if (!holds_run) RETURN_IF_ERROR(RefuseForeignFiles(start.folder));
  if (holds_run && options.restarted) {
    ASSIGN_OR_RETURN(const RunStart newest, ResumeFromNewest(start, options, identity));
    if (newest.kind == RunStart::Kind::kResume || resume == "none") return newest;
  }
  if (holds_run && resume == "none") {
    return UserError(start.folder, "holds a run already, and --resume_from_checkpoint=none",
                     "give another --output_dir, or leave the flag out to go on");
  }
  if (holds_run) {
    ASSIGN_OR_RETURN(const StoredRun stored, ReadRunJson(run_json));
    RETURN_IF_ERROR(CompareRuns(start.folder, stored.identity, identity));
    const bool has_ended = stored.state == "done" || stored.state == "early stopped";
    if (has_ended && HoldsResult(start.folder)) {
      start.kind = RunStart::Kind::kFinished;
      return start;
    }
  }
  if (resume != "auto" && resume != "none") {
    RETURN_IF_ERROR(WantACheckpoint(resume));
    return ResumeFrom(start, resume, options, identity);
  }
  return holds_run ? ResumeFromNewest(start, options, identity) : start;
}

std::string EncodeStart(const RunStart& start) {
  return Json{{"kind", static_cast<int>(start.kind)},
              {"folder", start.folder},
              {"checkpoint", start.checkpoint},
              {"state", start.state}}
      .dump();
}

absl::StatusOr<RunStart> DecodeStart(const std::string& text) {
  RunStart start;
  try {
    const Json json = Json::parse(text);
    start.kind = static_cast<RunStart::Kind>(json.at("kind").get<int>());
    json.at("folder").get_to(start.folder);
    json.at("checkpoint").get_to(start.checkpoint);
    json.at("state").get_to(start.state);
  } catch (const Json::exception& wrong) {
    return absl::InternalError(absl::StrCat("rank 0 said: ", wrong.what()));
  }
  return start;
}

absl::Status CreateRunFolder(const RunStart& start, const TrainOptions& options,
                             int64_t tokens_per_pack) {
  RETURN_IF_ERROR(MakeDirectories(JoinPath(start.folder, "logs")));
  for (const std::string& name : TokenizerFiles(options.data.model)) {
    const std::string source = JoinPath(options.data.model, name);
    if (!FileExists(source)) continue;
    ASSIGN_OR_RETURN(const std::string content, ReadFile(source));
    const fs::path copy = JoinPath(start.folder, name);
    RETURN_IF_ERROR(MakeDirectories(copy.parent_path().string()));
    RETURN_IF_ERROR(WriteFileAtomically(copy.string(), content));
  }
  FlagValues flags = options.run_flags;
  std::erase_if(flags, [](const auto& flag) {
    return flag.first == "tokens_per_pack" || flag.first == "output_dir";
  });
  flags.push_back({"tokens_per_pack", absl::StrCat(tokens_per_pack)});
  flags.push_back({"output_dir", start.folder});
  return WriteFileAtomically(JoinPath(start.folder, "run.flags"), FlagFile(flags));
}

absl::Status WriteRunJson(const RunStart& start, const TrainOptions& options,
                          const RunFacts& facts) {
  const auto object = [](const std::vector<std::pair<std::string, std::string>>& rows) {
    Json json = Json::object();
    for (const auto& [name, value] : rows) json[name] = value;
    return json;
  };
  Json placement = Json::array();
  for (const dist::Member& m : facts.members) {
    placement.push_back(
        {{"rank", m.rank}, {"host", m.host}, {"node", m.node}, {"device", m.device}});
  }
  const Json json = {{"state", facts.state},
                     {"started", facts.started},
                     {"steps_done", facts.steps_done},
                     {"num_steps", facts.num_steps},
                     {"tokens_per_pack", facts.tokens_per_pack},
                     {"ranks", facts.world_size},
                     {"bits_independent_of_ranks", facts.bits_independent_of_ranks},
                     {"memory",
                      {{"gradient_checkpointing", facts.checkpointing},
                       {"keep_attention", facts.keep_attention},
                       {"score_bytes", facts.score_bytes},
                       {"planned_bytes", facts.planned_bytes},
                       {"peak_bytes", facts.peak_bytes}}},
                     {"provenance", facts.provenance},
                     {"placement", placement},
                     {"options", object(options.run_flags)},
                     {"identity", facts.identity},
                     {"hashes", object(facts.hashes)},
                     {"versions", object(Versions())},
                     {"hardware", object(Hardware())}};
  return WriteFileAtomically(JoinPath(start.folder, "run.json"), json.dump(2) + "\n");
}

}  // namespace lockstep
