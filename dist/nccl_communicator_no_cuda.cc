#include "base/status.h"
#include "dist/nccl_communicator.h"
#include "dist/peer_check.h"

namespace lockstep::dist {
namespace {

absl::Status NoCuda() {
  return UserError("communicator",
                   "want collectives between GPUs, but this binary was built "
                   "without CUDA",
                   "install the CUDA toolkit under /usr/local/cuda (or set CUDA_HOME) and build "
                   "again, or use --device=cpu");
}

}  // namespace

absl::StatusOr<PeerReport> TestPeers(int rank, int size, StoreClient& store,
                                     const std::string& name, Device device,
                                     std::chrono::milliseconds limit,
                                     std::chrono::milliseconds timeout) {
  return NoCuda();
}

absl::StatusOr<std::unique_ptr<Communicator>> MakeNcclCommunicator(int rank, int size,
                                                                   StoreClient& store,
                                                                   NcclOptions options) {
  return NoCuda();
}

}  // namespace lockstep::dist
