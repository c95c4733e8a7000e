#include "base/status.h"
#include "dist/nccl_communicator.h"

namespace lockstep::dist {

absl::StatusOr<std::unique_ptr<Communicator>> MakeNcclCommunicator(int rank, int size,
                                                                   StoreClient& store,
                                                                   NcclOptions options) {
  return UserError("communicator",
                   "want collectives between GPUs, but this binary was built "
                   "without CUDA",
                   "install the CUDA toolkit under /usr/local/cuda (or set CUDA_HOME) and build "
                   "again, or use --device=cpu");
}

}  // namespace lockstep::dist
