// What is in the output folder (output_folder.h): whether a run may begin in it, and what is put
// there.
//
//   run.json run.flags      the run's options and identity; its state: running, done, interrupted
//   metrics.jsonl tensorboard/ checkpoints/ logs/
//   tokenizer files         byte for byte the model's
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/run_identity.h"
#include "trainer/flags/options.h"
#include "trainer/provenance.h"

namespace lockstep {

// How a run begins.
struct RunStart {
  enum class Kind { kNew, kResume, kFinished };
  Kind kind = Kind::kNew;
  std::string folder;              // OutputFolder::path
  std::string checkpoint;          // kResume: its folder
  CheckpointState state;           // kResume: what is in it; else step 0
  std::vector<std::string> notes;  // what is to be said about it: checkpoints that were passed over
};

// Looks at the output folder and --resume_from_checkpoint; changes nothing. Errors: the folder
// holds another run (and which option differs), a checkpoint that is damaged or of another run.
absl::StatusOr<RunStart> DecideStart(const std::string& folder, const TrainOptions& options,
                                     const RunIdentity& identity);

// To and from text, for telling the other ranks.
std::string EncodeStart(const RunStart& start);
absl::StatusOr<RunStart> DecodeStart(const std::string& text);

// What goes into run.json beside the options.
struct RunFacts {
  RunIdentity identity;
  std::string state;  // "running", "done", "interrupted", "early stopped"
  int64_t steps_done = 0;
  int64_t num_steps = 0;
  int64_t tokens_per_pack = 0;
  int world_size = 1;
  std::string checkpointing;    // what --gradient_checkpointing became
  bool keep_attention = false;  // as in nn::ForwardOptions
  int64_t score_bytes = 0;
  int64_t planned_bytes = 0;  // of rank 0's allocator
  int64_t peak_bytes = 0;     // until now
  bool bits_independent_of_ranks = true;
  Provenance provenance;
  std::vector<dist::Member> members;  // who was where
  std::string started;                // RFC 3339
  std::vector<std::pair<std::string, std::string>> hashes;
};

// Makes the folder, copies the tokenizer's files and writes run.flags.
absl::Status CreateRunFolder(const RunStart& start, const TrainOptions& options,
                             int64_t tokens_per_pack);
absl::Status WriteRunJson(const RunStart& start, const TrainOptions& options,
                          const RunFacts& facts);

// "FOLDER holds this run, finished; nothing is done", on standard output.
void SayThatItIsFinished(const RunStart& start);

std::string CheckpointFolder(const RunStart& start);

// "the same command with FLAGS": what starts a run again, so that it goes on.
std::string SameCommand(const RunStart& start, const TrainOptions& options);

// Where a run that was cut off goes on from, and how; "" if it left no checkpoint.
std::string HowItGoesOn(const RunStart& start, const TrainOptions& options);

}  // namespace lockstep
