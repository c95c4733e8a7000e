#include "tools/benchmarks/ranks.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "dist/nccl_communicator.h"
#include "dist/supervisor.h"

namespace lockstep {

absl::Status RunOnRanks(
    const RankOptions& options, const std::vector<std::string>& command_line,
    absl::FunctionRef<absl::Status(const Context& context, dist::World& world)> body) {
  const bool cuda = options.device == DeviceType::kCUDA;
  dist::LaunchFlags flags;
  flags.nproc_per_node = options.nproc_per_node > 0 ? options.nproc_per_node
                                                    : std::max(1, cuda ? CudaDeviceCount() : 1);
  ASSIGN_OR_RETURN(const auto env, dist::ResolveLaunch(dist::ReadEnvironment(), flags));
  if (env.role == dist::Role::kParent) {
    const int code = dist::Supervise(env, dist::SuperviseOptions(), command_line);
    if (code == 0) return absl::OkStatus();
    return absl::AbortedError(absl::StrCat("the ranks ended with exit code ", code));
  }
  const int gpus = std::max(1, CudaDeviceCount());
  const Device device{options.device, static_cast<int8_t>(cuda ? env.local_rank % gpus : 0)};
  ASSIGN_OR_RETURN(const auto runtime, Runtime::Open(device));
  dist::WorldOptions world_options;
  world_options.device = runtime->Describe();
  world_options.gpu = runtime->gpu_id();
  dist::NcclOptions nccl;
  nccl.device = device;
  if (options.max_channels > 0) nccl.max_channels = options.max_channels;
  if (cuda) {
    world_options.make_communicator = [&](int rank, int size, dist::StoreClient& store,
                                          dist::Communicator::FailureHandler on_failure) {
      nccl.on_failure = std::move(on_failure);
      return dist::MakeNcclCommunicator(rank, size, store, nccl);
    };
  }
  ASSIGN_OR_RETURN(const auto world, dist::JoinWorld(env, world_options));
  if (env.rank == 0) std::printf("%d ranks, %s\n", env.world_size, runtime->Describe().c_str());
  RETURN_IF_ERROR(body(runtime->context(), *world));
  world->Leave();
  return absl::OkStatus();
}

}  // namespace lockstep
