// What lies in a run's output folder (output_folder.h) from its start on: logs/, run.flags with the
// options, and byte for byte the files of the model's tokenizer.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "trainer/flags/options.h"
#include "trainer/run_start.h"

namespace lockstep {

// Makes the folder, removes half-written files of a killed run and writes run.flags.
absl::Status CreateRunFolder(const RunStart& start, const TrainOptions& options,
                             int64_t tokens_per_pack);
// What a later start would take for files of something else: comes behind run.json.
absl::Status CopyTokenizerFiles(const RunStart& start, const TrainOptions& options);

}  // namespace lockstep
