// What a run's bits stand on beside its options and data: the program, the processor or GPU, and
// the libraries that compute. run.json records it; a run that goes on where something of it is
// another says so, since its bits may then differ from those that it would have had.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "dist/world.h"
#include "trainer/flags/options.h"

namespace lockstep {

using Provenance = std::map<std::string, std::string>;

// Of this run. How many ranks there are, and NCCL's or Gloo's version, counts only where sums are
// not exact.
Provenance ProvenanceOf(const TrainOptions& options, const dist::World& world);

// A line for each difference that may change bits.
std::vector<std::string> ProvenanceChanges(const Provenance& before, const Provenance& now);

// The provenance in a run.json; empty if there is none.
Provenance ReadProvenance(const std::string& run_json);

}  // namespace lockstep
