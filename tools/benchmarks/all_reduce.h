// Measures what the sum of a step's gradients over the GPUs costs: alone, and beside products.
//
// One line for each dtype and number of buckets:
//   alone    from the first bucket's call to the last one's end, nothing else running
//   beside   what the same sums add to a row of products that hides them: SMs and memory taken away
// as the median of the rounds, [least .. most]; of every round the slowest rank counts. Rounds of
// all measurements alternate, as the GPU's clock depends on what ran before.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace lockstep {

struct AllReduceOptions {
  int nproc_per_node = 0;  // ranks; 0: all GPUs
  int max_channels = 0;    // thread blocks of NCCL; 0: the trainer's
  int64_t numel = 0;       // gradients
  int products = 0;        // of [8192, 4096] by [4096, 4096] in bf16, beside the sums
  int rounds = 1;          // measurements of each figure
};

// In the process that the user started it starts the ranks, by the same command line.
absl::Status BenchAllReduce(const AllReduceOptions& options,
                            const std::vector<std::string>& command_line);

}  // namespace lockstep
