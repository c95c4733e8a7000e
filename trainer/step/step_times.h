// How long each rank took for each step, and what it waited for: timings.jsonl, a line a step with
// a value for every rank.
//
//   {"step":7,"step_ms":[452.1,452.0],"own_ms":[451.2,447.1],"exposed_ms":[0.8,4.8],
//    "load_ms":[0.1,0.1],"tokens":[8192,8051]}
//
// exposed_ms is what the rank's stream stood still for the ranks' sums (Communicator::waited_ms):
// the end of the last sum that nothing hides, the same for all, and the lateness of the slowest
// rank. own_ms is the rest of step_ms: the rank's own work. load_ms is the host's wait for the
// loader; on a GPU it may be hidden behind the step before.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "dist/communicator.h"

namespace lockstep {

// One step of one rank.
struct StepTime {
  int64_t step = 0;
  double step_ms = 0, exposed_ms = 0, load_ms = 0;
  int64_t tokens = 0;  // of the rank's own packs

  double own_ms() const { return step_ms - exposed_ms; }
};

// All ranks' times, gathered now and then; the figures of a step are not worth a collective each.
class StepTimes {
 public:
  // The averages leave the first `warm_up` steps out.
  explicit StepTimes(dist::Communicator* communicator, int64_t warm_up = 2);

  // Collective, all ranks add the same steps. Returns the lines of steps that became known by it.
  std::string Add(const StepTime& mine);
  std::string Flush();

  // A step on average.
  struct Average {
    int64_t steps = 0;
    double step_ms = 0;
    double exposed_ms = 0;       // of all ranks alike: the least of a step's
    double late_ms = 0;          // above that, the ranks' mean
    std::vector<double> own_ms;  // by rank
  };
  Average average() const;
  // Where the time went, as one line; "" where nobody has to wait for others.
  std::string Summary() const;

 private:
  void Count(absl::Span<const StepTime> ranks);

  dist::Communicator* const communicator_;
  const int64_t warm_up_;
  const size_t capacity_;
  std::vector<StepTime> pending_;
  int64_t num_seen_ = 0;
  Average sum_;  // over sum_.steps
};

}  // namespace lockstep
