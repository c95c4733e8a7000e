#include "trainer/checkpoint/checkpoint.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status.h"
#include "data/byte_stream.h"
#include "nn/safetensors.h"
#include "nn/weights.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

using Json = nlohmann::json;

constexpr char kStateFile[] = "state.json";
constexpr char kTensorFile[] = "state.safetensors";
constexpr char kUnfinished[] = ".unfinished-";

// Returns the file's hash.
absl::StatusOr<std::string> WriteTensors(const std::string& path, ParameterCopy& copy) {
  nn::SafetensorsWriter writer(path);
  const nn::FlatParameters& parameters = copy.parameters();
  std::map<std::string, StatePart> by_name;
  for (StatePart& part : PartsOfState(parameters)) {
    writer.Declare(part.name, parameters.values().dtype(),
                   parameters.parameters()[part.parameter].spec.shape);
    by_name[part.name] = std::move(part);
  }
  RETURN_IF_ERROR(writer.Begin({}));
  for (const nn::StoredTensor& stored : writer.tensors()) {
    RETURN_IF_ERROR(copy.Read(by_name.at(stored.name),
                              [&](absl::string_view bytes) { return writer.Append(bytes); }));
  }
  RETURN_IF_ERROR(writer.Finish());
  return writer.ContentHash();
}

absl::Status Damaged(const std::string& path, absl::string_view what) {
  return UserError(path, absl::StrCat("not a whole checkpoint: ", what),
                   "--resume_from_checkpoint=FOLDER names another one");
}

// It loses its name first: what has the name of a checkpoint is whole at any instant.
absl::Status Remove(const std::string& checkpoint) {
  const fs::path path(checkpoint);
  const std::string doomed =
      JoinPath(path.parent_path().string(), absl::StrCat(kUnfinished, path.filename().string()));
  std::error_code error;
  fs::remove_all(doomed, error);  // what a kill in the middle of this has left
  if (!error) fs::rename(path, doomed, error);
  if (!error) fs::remove_all(doomed, error);
  return error ? SystemError(checkpoint, "cannot remove", error.value()) : absl::OkStatus();
}

// Writes a file of tensors and returns its hash.
using TensorWriter = absl::FunctionRef<absl::StatusOr<std::string>(const std::string& path)>;

// A checkpoint in the folder `unfinished`, which then gets its name.
absl::Status WriteInto(const std::string& unfinished, const std::string& final_name,
                       const CheckpointState& state, TensorWriter write) {
  RETURN_IF_ERROR(MakeDirectories(unfinished));
  Json json = state;
  ASSIGN_OR_RETURN(json[kTensorFile], write(JoinPath(unfinished, kTensorFile)));
  RETURN_IF_ERROR(WriteFileAtomically(JoinPath(unfinished, kStateFile), json.dump(1) + "\n"));
  RETURN_IF_ERROR(SyncFile(unfinished));
  if (std::rename(unfinished.c_str(), final_name.c_str()) == 0) return absl::OkStatus();
  return SystemError(final_name, "cannot rename to it", errno);
}

struct StateFile {
  CheckpointState state;
  std::string tensors_hash;
};
absl::StatusOr<StateFile> ReadStateFile(const std::string& checkpoint) {
  const std::string path = JoinPath(checkpoint, kStateFile);
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  StateFile file;
  auto& [state, tensors_hash] = file;
  try {
    const Json json = Json::parse(text);
    json.get_to(state);
    json.at(kTensorFile).get_to(tensors_hash);
  } catch (const Json::exception& wrong) {
    return Damaged(path, wrong.what());
  }
  constexpr int64_t kMost = int64_t{1} << 60;  // there is room to count on
  const std::pair<int64_t, int64_t> counts[] = {{state.step, 0},
                                                {state.tokens_per_pack, 0},
                                                {state.best_step, -1},
                                                {state.evals_since_best, 0}};
  for (const auto& [count, least] : counts) {
    if (count >= least && count <= kMost) continue;
    return Damaged(path, absl::StrCat("want a count of steps or tokens, got ", count));
  }
  return file;
}

}  // namespace

void to_json(Json& json, const CheckpointState& state) {
  json = {{"step", state.step},
          {"tokens_per_pack", state.tokens_per_pack},
          {"identity", state.identity},
          {"evaluation_due", state.evaluation_due},
          {"best_step", state.best_step},
          {"best_eval_loss", state.best_eval_loss},
          {"evals_since_best", state.evals_since_best}};
}

void from_json(const Json& json, CheckpointState& state) {
  json.at("step").get_to(state.step);
  json.at("tokens_per_pack").get_to(state.tokens_per_pack);
  json.at("identity").get_to(state.identity);
  state.evaluation_due = json.value("evaluation_due", false);  // older ones follow their evaluation
  json.at("best_step").get_to(state.best_step);
  json.at("best_eval_loss").get_to(state.best_eval_loss);
  json.at("evals_since_best").get_to(state.evals_since_best);
}

std::string CheckpointName(int64_t step) { return absl::StrFormat("step-%08d", step); }

namespace {

absl::Status Write(const std::string& folder, const CheckpointState& state, TensorWriter write) {
  const std::string final_name = JoinPath(folder, CheckpointName(state.step));
  std::error_code none;
  if (fs::exists(fs::symlink_status(final_name, none))) {
    if (ReadCheckpoint(final_name).ok()) return absl::OkStatus();
    // Damaged, or a link to what is gone: the run went on from one before it.
    RETURN_IF_ERROR(Remove(final_name));
  }
  const std::string unfinished =
      JoinPath(folder, absl::StrCat(kUnfinished, CheckpointName(state.step), "-", getpid()));
  const absl::Status status = FileExists(folder) ? WriteInto(unfinished, final_name, state, write)
                                                 : absl::NotFoundError("");
  if (status.ok()) return SyncFile(folder);
  // Nothing is left of a checkpoint that could not be finished.
  std::error_code error;
  fs::remove_all(unfinished, error);
  if (FileExists(folder)) return status;
  return UserError(folder, "the folder is gone; somebody removed it during the run",
                   "start the run again");
}

}  // namespace

absl::Status WriteCheckpoint(const std::string& folder, const CheckpointState& state,
                             ParameterCopy& copy) {
  return Write(folder, state, [&](const std::string& path) { return WriteTensors(path, copy); });
}

absl::Status CopyCheckpoint(const std::string& checkpoint, const std::string& folder) {
  ASSIGN_OR_RETURN(const StateFile source, ReadStateFile(checkpoint));
  ASSIGN_OR_RETURN(const auto tensors, MappedFile::Open(JoinPath(checkpoint, kTensorFile)));
  return Write(folder, source.state, [&](const std::string& path) -> absl::StatusOr<std::string> {
    RETURN_IF_ERROR(WriteFileAtomically(path, tensors->view()));
    return source.tensors_hash;
  });
}

absl::StatusOr<CheckpointState> ReadCheckpointState(const std::string& checkpoint) {
  ASSIGN_OR_RETURN(StateFile file, ReadStateFile(checkpoint));
  return std::move(file.state);
}

absl::StatusOr<CheckpointState> ReadCheckpoint(const std::string& checkpoint) {
  ASSIGN_OR_RETURN(StateFile file, ReadStateFile(checkpoint));
  const std::string tensors = JoinPath(checkpoint, kTensorFile);
  if (!FileExists(tensors)) return Damaged(tensors, "the file is missing");
  ASSIGN_OR_RETURN(const std::string found, data::HashFile(tensors));
  if (found != file.tensors_hash) {
    return Damaged(tensors,
                   absl::StrCat("want content with hash ", file.tensors_hash, ", got ", found));
  }
  return std::move(file.state);
}

absl::Status RestoreParameters(const Context& context, const std::string& checkpoint,
                               nn::FlatParameters* parameters) {
  ASSIGN_OR_RETURN(const auto file, nn::SafetensorsFile::Open(JoinPath(checkpoint, kTensorFile)));
  const std::vector<Tensor> buffers = parameters->state();
  for (const StatePart& part : PartsOfState(*parameters)) {
    const Tensor tensor = parameters->Part(buffers[part.buffer], part.parameter);
    const nn::StoredTensor* stored = file->Find(part.name);
    if (stored == nullptr) return Damaged(file->path(), absl::StrCat("no tensor ", part.name));
    if (stored->shape != parameters->parameters()[part.parameter].spec.shape) {
      return Damaged(file->path(), absl::StrCat(part.name, " has another shape"));
    }
    std::vector<char> bytes(tensor.view().num_bytes());
    RETURN_IF_ERROR(
        nn::ReadParallel(*file, *stored, 0, stored->numel(), tensor.dtype(), bytes.data()));
    CopyToDevice(context.stream, bytes.data(), tensor.Mutable("restore"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ListCheckpoints(const std::string& folder) {
  if (!FileExists(folder)) return std::vector<std::string>();
  return PathsThatStartWith(JoinPath(folder, "step-"));
}

absl::Status RotateCheckpoints(const std::string& folder, int64_t limit, int64_t best_step) {
  ASSIGN_OR_RETURN(const std::vector<std::string> left_behind,
                   PathsThatStartWith(JoinPath(folder, kUnfinished)));
  for (const std::string& path : left_behind) {
    std::error_code error;
    fs::remove_all(path, error);
    if (error) return SystemError(path, "cannot remove", error.value());
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> checkpoints, ListCheckpoints(folder));
  const size_t keep = limit == 0 ? checkpoints.size() : static_cast<size_t>(limit);
  for (size_t i = 0; i + keep < checkpoints.size(); ++i) {
    if (absl::EndsWith(checkpoints[i], CheckpointName(best_step))) continue;
    RETURN_IF_ERROR(Remove(checkpoints[i]));
  }
  return absl::OkStatus();
}

}  // namespace lockstep
