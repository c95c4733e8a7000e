// Measures what several ranks cost a training step, and which bucket size costs least.
//
// For each way to add gradients and each bucket size, a line: the step's time, what of it is sums
// that nothing hid, what the ranks waited for the slowest of them, and tokens a second of each
// rank, against the slowest rank alone, with the least and most of the rounds. "Alone" is measured
// in the same run: all ranks do the same work at the same time and exchange nothing. Rounds of all
// measurements alternate, as a GPU's clock depends on what ran before.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tools/benchmarks/steps.h"

namespace lockstep {

struct ScalingOptions {
  StepsOptions steps;                      // shape, dtype and packs; `steps` of them in a round
  int nproc_per_node = 0;                  // ranks; 0: all GPUs
  int packs_per_rank = 1;                  // in a step
  bool full = false;                       // every weight is trained, not an adapter
  std::vector<std::string> gradient_sums;  // "exact", "fp32", "bf16"
  std::vector<double> bucket_caps_mb;      // MiB
  int rounds = 1;
};

// In the process that the user started it starts the ranks, by the same command line.
absl::Status BenchScaling(const ScalingOptions& options,
                          const std::vector<std::string>& command_line);

}  // namespace lockstep
