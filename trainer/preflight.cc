#include "trainer/preflight.h"

#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/number.h"
#include "base/status.h"
#include "base/terminal.h"
#include "dist/shared_gpus.h"
#include "nn/weights.h"
#include "tensor/runtime.h"
#include "trainer/plan/memory_plan.h"
#include "trainer/plan/num_steps.h"
#include "trainer/prepare.h"
#include "trainer/report/environment.h"

namespace lockstep {
namespace {

void PrintRows(const char* title, const std::vector<std::pair<std::string, std::string>>& rows) {
  std::printf("%s\n", title);
  for (const auto& [name, value] : rows) std::printf("%s\n", TableRow(name, value).c_str());
}

data::ProgressFn TerminalProgress() {
  return [](absl::string_view what, int64_t done, int64_t total) {
    if (!RewritesLines(STDERR_FILENO) || total <= 0) return;
    std::fprintf(stderr, "\r\033[K%.*s %d %%%s", static_cast<int>(what.size()), what.data(),
                 static_cast<int>(100 * done / total), done >= total ? "\r\033[K" : "");
  };
}

}  // namespace

absl::StatusOr<RunStart> CheckBeforeLaunch(const TrainOptions& options, int ranks,
                                           OutputFolder* folder) {
  const auto decide = [&](const RunIdentity& identity) -> absl::StatusOr<RunStart> {
    ASSIGN_OR_RETURN(*folder, OutputFolder::Choose(options));
    // Rank 0 reads all of the checkpoint, once it has the folder to itself.
    return DecideStart(folder->path(), options, identity, &ReadCheckpointState);
  };
  ASSIGN_OR_RETURN(const Prepared prepared, Prepare(options, TerminalProgress(), decide));
  if (prepared.data != nullptr && options.device == "cpu") {  // each rank looks at its own GPU
    ASSIGN_OR_RETURN(
        const auto planner,
        MemoryPlanner::Create(options, *prepared.data, NumSteps(options, *prepared.data->plan)));
    RETURN_IF_ERROR(planner->Choose(options, ranks, {.host = AvailableMemory()}).status());
  }
  return prepared.start;
}

absl::Status PrintPlans(const TrainOptions& options, const dist::LaunchEnv& env) {
  ASSIGN_OR_RETURN(const Prepared prepared,
                   Prepare(options, TerminalProgress(), [](const RunIdentity&) {
                     return absl::StatusOr<RunStart>(RunStart{});
                   }));
  PrintRows("data", DataTable(*prepared.data));
  const int64_t num_steps = NumSteps(options, *prepared.data->plan);
  PrintRows("steps", PlanTable(*prepared.data, num_steps, env.world_size));
  TrainOptions planned = options;
  if (!nn::HasWeights(options.data.model)) {
    std::printf("note: %s holds no weights; planned by its config.json\n",
                ShownPath(options.data.model).c_str());
    planned.model.random_init = true;
  }
  ASSIGN_OR_RETURN(const auto planner, MemoryPlanner::Create(planned, *prepared.data, num_steps));
  // What there is: this machine's memory, and the first GPU's.
  const int ranks = env.local_world_size;
  absl::StatusOr<std::unique_ptr<Runtime>> gpu = Runtime::Open(Device());
  if (options.device == "cuda") gpu = Runtime::Open(Device{DeviceType::kCUDA, 0});
  const bool on_cpu = options.device == "cpu";
  const int sharing =
      dist::RanksPerGpu(ranks, CudaDeviceCount(), dist::MayShareGpus(dist::ReadEnvironment()));
  const FreeMemory available = {.host = AvailableMemory(),
                                .device = !on_cpu && gpu.ok() ? (*gpu)->FreeBytes() / sharing : 0};
  const absl::StatusOr<MemoryPlan> chosen = planner->Choose(planned, ranks, available);
  const MemoryPlan memory =
      chosen.ok() ? *chosen : planner->Plan({.checkpointing = planned.gradient_checkpointing});
  std::printf("buckets\n%s", memory.buckets.c_str());
  PrintRows("memory", MemoryTable(memory));
  RETURN_IF_ERROR(gpu.status());
  PrintRows(
      "what fits",
      {{"memory", HumanBytes(static_cast<double>(on_cpu ? available.host : available.device))},
       {"--tokens_per_pack at most", absl::StrCat(planner->LargestTokensPerPack(
                                         memory.forward.checkpointing, ranks, available))}});
  return chosen.status();
}

}  // namespace lockstep
