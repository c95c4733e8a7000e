// Checkpoints: everything that decides how a run goes on, and nothing else.
//
//   checkpoints/step-00000500/state.json          step, identity of the run, hash of the other file
//                             state.safetensors   values.NAME, exp_avg.NAME, exp_avg_sq.NAME, f32
//
// Parameters go by name. The position in the data is the step, since the plan is a pure function of
// data and options; random numbers are functions of seed and place. The number of ranks is not in
// it, so any number goes on with it. A checkpoint is written under another name, fsynced, and
// renamed: one that has its name is whole. Its content is verified by hash when it is read.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nn/flat_parameters.h"
#include "tensor/context.h"
#include "trainer/checkpoint/parameter_copy.h"
#include "trainer/checkpoint/run_identity.h"

namespace lockstep {

struct CheckpointState {
  int64_t step = 0;  // steps done
  int64_t tokens_per_pack = 0;
  RunIdentity identity;
  bool evaluation_due = false;  // of `step`: the run was asked to stop before it was over
  // Early stopping's memory.
  int64_t best_step = -1;  // of the lowest evaluation so far; -1: none yet
  double best_eval_loss = 0;
  int64_t evals_since_best = 0;
};

// As in state.json. from_json throws what nlohmann's own conversions throw.
void to_json(nlohmann::json& json, const CheckpointState& state);
void from_json(const nlohmann::json& json, CheckpointState& state);

// Writes folder/step-NNNNNNNN of what copy.Begin has copied; where it is there already, whole, it
// is left alone.
absl::Status WriteCheckpoint(const std::string& folder, const CheckpointState& state,
                             ParameterCopy& copy);

// The same of a checkpoint in another folder.
absl::Status CopyCheckpoint(const std::string& checkpoint, const std::string& folder);

// One checkpoint's state, its tensors verified by hash.
absl::StatusOr<CheckpointState> ReadCheckpoint(const std::string& checkpoint);
// The state alone: the tensors may be damaged.
absl::StatusOr<CheckpointState> ReadCheckpointState(const std::string& checkpoint);

// Its tensors into values and moments. Errors: a name or shape that does not fit.
absl::Status RestoreParameters(const Context& context, const std::string& checkpoint,
                               nn::FlatParameters* parameters);

// The checkpoints of `folder`, oldest first; none if it does not exist.
absl::StatusOr<std::vector<std::string>> ListCheckpoints(const std::string& folder);

// Removes the oldest ones beyond `limit` (0: none), but never that of `best_step`; and what a crash
// has left behind half-written.
absl::Status RotateCheckpoints(const std::string& folder, int64_t limit, int64_t best_step);

// "step-00000500".
std::string CheckpointName(int64_t step);

}  // namespace lockstep
