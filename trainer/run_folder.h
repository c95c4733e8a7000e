// What a run puts into its output folder (output_folder.h) by itself, beside what it trains.
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
#include "trainer/checkpoint/run_identity.h"
#include "trainer/flags/options.h"
#include "trainer/provenance.h"
#include "trainer/run_start.h"

namespace lockstep {

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

// Makes the folder, removes half-written files of a killed run and writes run.flags.
absl::Status CreateRunFolder(const RunStart& start, const TrainOptions& options,
                             int64_t tokens_per_pack);
// What a later start would take for files of something else comes after it.
absl::Status WriteRunJson(const RunStart& start, const TrainOptions& options,
                          const RunFacts& facts);
absl::Status CopyTokenizerFiles(const RunStart& start, const TrainOptions& options);

}  // namespace lockstep
