// Measures greedy generation, a token at a time, on random weights with an adapter.
#pragma once

#include "absl/status/status.h"
#include "tools/benchmarks/steps.h"

namespace lockstep {

// Of one prompt and of all of `options.packs`' documents together. Errors: UserError.
absl::Status BenchGenerate(const StepsOptions& options);

}  // namespace lockstep
