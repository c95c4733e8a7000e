// Collectives between GPUs, one process each: NCCL.
//
// They run on a stream of the communicator, in the order of the calls. A collective starts behind
// what the caller's stream holds at the call, and Wait puts the caller's stream behind the
// collective: both by events, the host waits for neither. NCCL's kernels take `max_channels` thread
// blocks, hence at most so many SMs from the computation beside them.
//
// Values of the host (AllReduceValue, World::Leave) go the same way, in the same order and under
// the same watch: a call on a CPU stream takes host memory of at most kMaxHostBytes, staged through
// the device, and is done when it returns, as everything on a CPU stream is (tensor/device.h).
//
// A thread of the communicator asks the device every few milliseconds what has finished (position)
// and NCCL for errors (FailureHandler). Between GPUs of one host, memory is the connection and does
// not close when a peer dies: that is seen by the parent and by heartbeats (world.h). What waits
// for a failed collective goes on waiting until Abort, so that no result is made of half a sum.
//
// NVLink multicast is off unless NCCL_NVLS_ENABLE is set; ranks of one host meet on the loopback
// interface unless NCCL_SOCKET_IFNAME is set.
#pragma once

#include <chrono>
#include <memory>

#include "absl/status/statusor.h"
#include "dist/communicator.h"
#include "dist/store.h"

namespace lockstep::dist {

inline constexpr size_t kMaxHostBytes = size_t{64} << 10;

struct NcclOptions {
  Device device{DeviceType::kCUDA};  // this rank's GPU; others' too where NCCL shares it
  int max_channels = 16;             // docs/scaling.md has the measurement
  // Before that, GPUs of one host show that direct copies between them work (peer_check.h); one
  // that takes longer than this does not.
  std::chrono::milliseconds peer_limit{100};
  // From the exchange of NCCL's id to the first collective. Collectives have none: the watchdog
  // sees what stands still.
  std::chrono::milliseconds timeout = std::chrono::seconds(60);
  Communicator::FailureHandler on_failure;
};

// Connects all ranks with each other; they find each other through `store`, which is used only
// here. `device` becomes the calling thread's. Errors name the rank that failed and in which phase,
// on all ranks: GPUs that NCCL does not connect, a time limit, a build without CUDA.
absl::StatusOr<std::unique_ptr<Communicator>> MakeNcclCommunicator(int rank, int size,
                                                                   StoreClient& store,
                                                                   NcclOptions options);

}  // namespace lockstep::dist
