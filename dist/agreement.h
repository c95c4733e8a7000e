// Before step one all ranks prove that they are about to do the same thing.
#pragma once

#include <chrono>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "dist/store.h"

namespace lockstep::dist {

// Compares `facts` (name -> hash or short text) of all ranks through the store. OK when they are
// equal; else, on every rank alike, a UserError that names each differing fact, its values and
// their ranks, e.g.
//   [agreement] data: ranks 0, 1, 3 have 9f0c…, rank 2 has 77ab…
// `round` tells several agreements of a run apart. Every rank calls it; DeadlineExceeded names the
// ranks that did not.
absl::Status Agree(StoreClient& store, int rank, int world_size, const std::string& round,
                   const std::map<std::string, std::string>& facts,
                   std::chrono::milliseconds timeout);

}  // namespace lockstep::dist
