#include "dist/shared_gpus.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace lockstep::dist {

bool MayShareGpus(const Environment& environment) {
  const auto found = environment.find("NCCL_MULTI_RANK_GPU_ENABLE");
  return found != environment.end() && found->second == "1";
}

int RanksPerGpu(int local_ranks, int gpus, bool may_share) {
  return may_share && gpus > 0 ? (local_ranks + gpus - 1) / gpus : 1;
}

absl::Status CheckGpus(const std::vector<Member>& members, bool may_share) {
  if (may_share) return absl::OkStatus();
  std::map<std::string, const Member*> on_gpu;
  for (const Member& m : members) {
    if (m.gpu.empty()) continue;
    const auto [found, is_first] = on_gpu.emplace(m.gpu, &m);
    if (is_first) continue;
    return UserError(
        "--nproc_per_node",
        absl::StrCat("want a GPU for each rank, got one for ranks ", found->second->rank, " and ",
                     m.rank, ": ", Describe(m)),
        "fewer ranks on this machine, or CUDA_VISIBLE_DEVICES as a launcher should set it; with "
        "NCCL_MULTI_RANK_GPU_ENABLE=1 (NCCL 2.30 and later) ranks share GPUs, to try things out");
  }
  return absl::OkStatus();
}

}  // namespace lockstep::dist
