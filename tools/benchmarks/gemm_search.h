// Measures what the choice between cuBLASLt's kernels is worth, for the products of a step.
//
// For products of a model's layers and head, forward and input gradient, in bf16: the library's
// first suggestion, which training takes but for wide outputs, beside its other suggestions and
// many settings of tile, schedule, cluster and order of blocks.
//
// What a GPU at its power limit does in a second depends on the energy that a product takes, not on
// its time at a given clock: timed once, or in turns with others, small tiles look up to 11 %
// faster than they make a step (docs/experiments.md, "Choosing between kernels"). So kernels are
// compared in long rows of one kernel, where the limit makes time and energy the same; time is read
// more exactly. First a short row for the fastest kernel of each large tile and for more kernels of
// the best tiles, then several turns of long rows for the best few. Beside those stand the same
// product in another form: without adding to what is there, with W laid out the other way, with
// more of the head's rows at once.
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
  std::string products;  // regular expression; "": all
  int candidates = 30;   // kernels of a product that get a short row
  std::string only;      // instead: these, as printed, with commas between
  int rounds = 4;        // long rows of each of the best few
  double row_ms = 300;   // their length, behind a third of that, which settles the clock
};

absl::Status BenchGemmSearch(const GemmSearchOptions& options);

}  // namespace lockstep
