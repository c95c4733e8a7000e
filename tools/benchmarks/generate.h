// Measures greedy generation, a token at a time, on random weights with an adapter.
#pragma once

#include "absl/status/status.h"
#include "tools/benchmarks/steps.h"

namespace lockstep {

// A line for each of `options.packs`: its documents are prompts that are continued together.
// Errors: UserError.
absl::Status BenchGenerate(const StepsOptions& options);

}  // namespace lockstep
