#include "tools/benchmarks/kernel_table.h"

#include <cstdio>
#include <vector>

#include "base/status.h"
#include "tensor/profile/activity.h"
#include "tensor/profile/summary.h"
#include "tensor/runtime.h"

namespace lockstep {

absl::Status PrintKernelTable(const Context& context, int steps, int top,
                              absl::FunctionRef<absl::Status()> run) {
  Synchronize(context.stream);
  RETURN_IF_ERROR(profile::StartWatching());
  const double begin_us = profile::NowUs();
  RETURN_IF_ERROR(run());
  Synchronize(context.stream);
  const double end_us = profile::NowUs();
  const std::vector<profile::Activity> activities = profile::StopWatching();
  const profile::Summary summary = profile::Summarize(activities, begin_us, end_us);
  std::fputs(profile::Table(summary, activities, steps, top).c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace lockstep
