// How equal the work of ranks is, by batch size and number of ranks, and how fast steps are
// planned; docs/data.md has the figures.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "trainer/flags/data_flags.h"

namespace lockstep {

// Prints how much more work the slowest rank of a step has than the mean of the ranks, and the time
// to plan `documents` documents of made-up lengths.
absl::Status BenchPlan(const DataOptions& options, int64_t documents);

}  // namespace lockstep
