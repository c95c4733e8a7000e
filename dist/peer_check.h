// Whether GPUs of one host read each other's memory, and read what was written, before NCCL relies
// on it; so do ranks that share a GPU. A pattern goes from each GPU to each other one; on some
// machines (an IOMMU that is in the way, virtual machines) such a copy brings zeros, or never ends.
#pragma once

#include <chrono>
#include <string>

#include "absl/status/statusor.h"
#include "dist/store.h"
#include "tensor/device.h"

namespace lockstep::dist {

struct PeerReport {
  bool usable = true;  // no copy was wrong or stuck
  std::string line;    // "" or what to tell the user, the same on all ranks
  int num_pairs = 0;   // copies that were checked, of this rank
  double ms = 0;       // that they took
};

// Collective: all ranks call it, each with its GPU, which others may share. A copy that takes more
// than `limit` is stuck. `name` tells several such tests of a run apart. Errors: those of the
// store.
absl::StatusOr<PeerReport> TestPeers(int rank, int size, StoreClient& store,
                                     const std::string& name, Device device,
                                     std::chrono::milliseconds limit,
                                     std::chrono::milliseconds timeout);

}  // namespace lockstep::dist
