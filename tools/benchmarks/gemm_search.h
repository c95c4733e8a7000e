// Measures what the choice between cuBLASLt's kernels is worth, for the products of a step.
//
// For every product of a model's layers and head, forward and input gradient, in bf16: the
// library's first suggestion, which training takes, beside its other suggestions and many settings
// of tile, schedule and cluster.
//
// What a GPU at its power limit does in a second depends on the energy that a product takes, not on
// its time at a given clock: timed once, or in turns with others, small tiles look up to 11 %
// faster than they make a step (docs/experiments.md, "Choosing between kernels"). So the fastest of
// each size of tile are timed in rows of a second of one kernel, of which the first half settles
// the clock. The first suggestion comes twice: their difference is the spread.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "tensor/device.h"

namespace lockstep {

struct GemmSearchOptions {
  Device device;
  std::string config_json;
  int64_t tokens = 8192;
};

absl::Status BenchGemmSearch(const GemmSearchOptions& options);

}  // namespace lockstep
