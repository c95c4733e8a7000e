// How a run begins: anew, or where one that was cut off goes on.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/run_identity.h"
#include "trainer/flags/options.h"

namespace lockstep {

struct RunStart {
  enum class Kind { kNew, kResume, kFinished };
  Kind kind = Kind::kNew;
  std::string folder;              // OutputFolder::path
  std::string checkpoint;          // kResume: its folder
  CheckpointState state;           // kResume: what is in it; else step 0
  std::vector<std::string> notes;  // what is to be said about it: checkpoints that were passed over
};

// ReadCheckpoint, or ReadCheckpointState for who only wants to know early: reading all of a large
// checkpoint takes its time.
using CheckpointReader = decltype(&ReadCheckpoint);

// Looks at the output folder and --resume_from_checkpoint; changes nothing. `read` reads a
// checkpoint that may be gone on from. Errors: the folder holds another run (and which option
// differs), a checkpoint that is damaged or of another run.
absl::StatusOr<RunStart> DecideStart(const std::string& folder, const TrainOptions& options,
                                     const RunIdentity& identity, CheckpointReader read);

// To and from text, for telling the other ranks; without the notes.
std::string EncodeStart(const RunStart& start);
absl::StatusOr<RunStart> DecodeStart(const std::string& text);

// Where a run that goes on finds early stopping's best checkpoint: beside the one it goes on from,
// which may lie in another run's folder. "": there is none yet, or the run does not stop early.
std::string BestCheckpoint(const RunStart& start, const TrainOptions& options);

// Where the run's checkpoints are.
std::string CheckpointFolder(const RunStart& start);

// "FOLDER holds this run, finished; nothing is done", on standard output.
void SayThatItIsFinished(const RunStart& start);

// "the same command with FLAGS": what starts a run again, so that it goes on.
std::string SameCommand(const RunStart& start, const TrainOptions& options);

// Where a run that was cut off goes on from, and how; "" if it left no checkpoint.
std::string HowItGoesOn(const RunStart& start, const TrainOptions& options);

}  // namespace lockstep
