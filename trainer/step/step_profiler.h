// --profile_steps=3..5: watches a GPU during these steps and says where their time went.
//
//   if (profiler.Begins(step)) RETURN_IF_ERROR(profiler.Start(stream));
//   …                                                  the steps
//   if (profiler.Ends(step)) ASSIGN_OR_RETURN(const std::string table, profiler.Stop());
//
// The watched steps begin and end with an idle GPU, so their table adds up to the time between.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tensor/device.h"

namespace lockstep {

// Steps, counted from 1, both included; none if last is 0.
struct StepRange {
  int64_t first = 0, last = 0;
};

// "3..5", "3" or "". Error: anything else.
absl::StatusOr<StepRange> ParseStepRange(absl::string_view flag, const std::string& text);

class StepProfiler {
 public:
  // Of a run of `num_steps` steps. The table goes to `folder`/rank-N.txt, the timeline to
  // `folder`/rank-N.trace.json.
  StepProfiler(StepRange steps, int64_t num_steps, std::string folder, int rank)
      : steps_{steps.first, std::min(steps.last, num_steps)},
        folder_(std::move(folder)),
        rank_(rank) {}

  bool Begins(int64_t step) const { return steps_.last > 0 && step == steps_.first; }
  bool Ends(int64_t step) const { return watching_ && step == steps_.last; }

  // Errors: there is nothing to watch a GPU with.
  absl::Status Start(const Stream& stream);

  // What to tell the user. Errors: the timeline cannot be written.
  absl::StatusOr<std::string> Stop(const Stream& stream, int64_t step);

 private:
  const StepRange steps_;
  const std::string folder_;
  const int rank_;
  bool watching_ = false;
  double begin_us_ = 0;
};

}  // namespace lockstep
