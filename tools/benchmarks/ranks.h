// Benchmarks with several ranks, started as the trainer starts its own.
#pragma once

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "dist/world.h"
#include "tensor/runtime.h"

namespace lockstep {

struct RankOptions {
  DeviceType device = DeviceType::kCUDA;
  int nproc_per_node = 0;  // 0: all GPUs, or one rank on the CPU
  int max_channels = 0;    // thread blocks of NCCL; 0: the trainer's
};

// In the process that the user started it starts the ranks, by the same command line, and answers
// for them; in each of these it calls `body`.
absl::Status RunOnRanks(
    const RankOptions& options, const std::vector<std::string>& command_line,
    absl::FunctionRef<absl::Status(const Context& context, dist::World& world)> body);

}  // namespace lockstep
