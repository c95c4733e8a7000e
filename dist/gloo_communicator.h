// Collectives between CPU ranks: Gloo over TCP.
//
// A thread of the communicator runs the collectives one after the other, in the order of the calls,
// while the caller computes. Integer sums wrap; the order of a floating-point sum depends on the
// number of ranks, that of an integer sum does not matter.
//
// Gloo writes to connections that may be cut: the process ignores SIGPIPE (JoinWorld sees to it).
#pragma once

#include <chrono>
#include <memory>

#include "absl/status/statusor.h"
#include "dist/communicator.h"
#include "dist/store.h"

namespace lockstep::dist {

struct GlooOptions {
  // For finding each other; Gloo takes up to five times as long to connect. Collectives have none:
  // the watchdog sees what stands still.
  std::chrono::milliseconds timeout = std::chrono::seconds(20);
  Communicator::FailureHandler on_failure;
};

// Connects all ranks with each other; they find each other through `store`, which is used only
// here. Listens on store.local_address(), ports of the system's choice, until all are connected. A
// stranger that gets hold of one of these connections makes the ranks start again, a few times.
absl::StatusOr<std::unique_ptr<Communicator>> MakeGlooCommunicator(int rank, int size,
                                                                   StoreClient& store,
                                                                   GlooOptions options);

}  // namespace lockstep::dist
