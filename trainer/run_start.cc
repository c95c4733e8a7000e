#include "trainer/run_start.h"

#include <simdjson.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/model_files.h"
#include "base/status.h"
#include "trainer/run_files.h"

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
  std::vector<const char*> names(std::begin(kOwnFiles), std::end(kOwnFiles));
  names.insert(names.end(), std::begin(kTokenizerFiles), std::end(kTokenizerFiles));
  names.push_back(kMoreTemplates);
  for (const char* name : names) {
    if (!FileExists(JoinPath(folder, name))) continue;
    return UserError(folder, absl::StrCat("holds ", name, " of something else"),
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
                                    CheckpointState state, const TrainOptions& options,
                                    const RunIdentity& identity) {
  start.state = std::move(state);
  RETURN_IF_ERROR(CompareRuns(checkpoint, start.state.identity, identity));
  RETURN_IF_ERROR(CheckTokensPerPack(options, start.state, checkpoint));
  start.kind = RunStart::Kind::kResume;
  start.checkpoint = checkpoint;
  return start;
}

// Whoever names a checkpoint that was moved is told at once; within a run's own folder a best one
// that is missing will come again.
absl::Status WantTheBestBeside(const RunStart& start, const TrainOptions& options) {
  const std::string best = BestCheckpoint(start, options);
  if (best.empty() || FileExists(best)) return absl::OkStatus();
  return UserError(start.checkpoint,
                   absl::StrCat("its best evaluation was after step ", start.state.best_step,
                                ", and there is no ", best),
                   "--early_stopping_patience needs both: bring them side by side");
}

// The newest checkpoint that is whole; a damaged one is named and passed over.
absl::StatusOr<RunStart> ResumeFromNewest(RunStart start, const TrainOptions& options,
                                          const RunIdentity& identity, CheckpointReader read) {
  ASSIGN_OR_RETURN(std::vector<std::string> checkpoints, ListCheckpoints(CheckpointFolder(start)));
  std::reverse(checkpoints.begin(), checkpoints.end());
  for (const std::string& checkpoint : checkpoints) {
    absl::StatusOr<CheckpointState> whole = read(checkpoint);
    if (whole.ok()) return ResumeFrom(start, checkpoint, *std::move(whole), options, identity);
    const std::vector<std::string> lines = absl::StrSplit(whole.status().message(), '\n');
    start.notes.push_back(absl::StrCat("warning: passed over: ", lines[0]));
  }
  if (!checkpoints.empty()) start.notes.push_back("warning: no checkpoint is whole: begins anew");
  return start;
}

// --resume_from_checkpoint is neither auto nor none.
absl::Status WantACheckpoint(const std::string& folder) {
  if (FileExists(JoinPath(folder, "state.json"))) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<std::string> inside,
                   ListCheckpoints(JoinPath(folder, "checkpoints")));
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

}  // namespace

void SayThatItIsFinished(const RunStart& start) {
  std::printf("%s holds this run, finished; nothing is done\n", start.folder.c_str());
}

std::string BestCheckpoint(const RunStart& start, const TrainOptions& options) {
  const int64_t best = start.state.best_step;
  if (!options.early_stopping_patience || best < 0) return "";
  if (best == start.state.step) return start.checkpoint;
  return JoinPath(start.checkpoint, absl::StrCat("../", CheckpointName(best)));
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
  const auto checkpoints = ListCheckpoints(CheckpointFolder(start));
  if (!checkpoints.ok() || checkpoints->empty()) return "";
  return absl::StrCat(SameCommand(start, options), " goes on from ",
                      fs::path(checkpoints->back()).filename().string());
}

absl::StatusOr<RunStart> DecideStart(const std::string& folder, const TrainOptions& options,
                                     const RunIdentity& identity, CheckpointReader read) {
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
    ASSIGN_OR_RETURN(const RunStart newest, ResumeFromNewest(start, options, identity, read));
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
    ASSIGN_OR_RETURN(CheckpointState state, read(resume));
    ASSIGN_OR_RETURN(start, ResumeFrom(start, resume, std::move(state), options, identity));
    RETURN_IF_ERROR(WantTheBestBeside(start, options));
    return start;
  }
  return holds_run ? ResumeFromNewest(start, options, identity, read) : start;
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

}  // namespace lockstep
