// Ranks that share a GPU. NCCL wants a GPU for each rank unless NCCL_MULTI_RANK_GPU_ENABLE=1 is set
// (NCCL 2.30 and later); with it there may be more ranks than GPUs. They compute in turns, so this
// shows that a run of several ranks is right where there are too few GPUs, never how fast it is.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "dist/launch_env.h"
#include "dist/member.h"

namespace lockstep::dist {

// Whether the user has allowed it.
bool MayShareGpus(const Environment& environment);

// Before ranks have started (then RanksOnGpuOf, member.h): of `local_ranks` on `gpus` GPUs, the
// most on one.
int RanksPerGpu(int local_ranks, int gpus, bool may_share);

// A UserError where ranks are on one GPU and may not.
absl::Status CheckGpus(const std::vector<Member>& members, bool may_share);

}  // namespace lockstep::dist
