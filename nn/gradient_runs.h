// Final gradients, many at a time.
//
// Leaves become final one by one, nearly in the order in which they lie in the flat buffers. What
// is then done with each of them (adding it to the sums, offering it to an all-reduce) costs more
// to start than to do. GradientRuns collects neighbors and hands them on together:
//
//   GradientRuns runs(parameters, [&](int first, int end) { parameters.AddToSums(…); });
//   tape.Backward(…, [&](const Variable& leaf) { runs.Add(parameters.IndexOf(leaf)); });
//   runs.Finish();
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "nn/flat_parameters.h"

namespace lockstep::nn {

class GradientRuns {
 public:
  // `on_run(first, end)`: parameters [first, end) are final. Runs do not overlap, and each but the
  // last ones has at least `least_numel` elements. `parameters` outlives this.
  GradientRuns(const FlatParameters& parameters, std::function<void(int first, int end)> on_run,
               int64_t least_numel = int64_t{1} << 20);

  void Add(int index);
  // What was added and not yet handed on, in runs without gaps.
  void Finish();

 private:
  const FlatParameters& parameters_;
  const std::function<void(int first, int end)> on_run_;
  const int64_t least_numel_;
  std::vector<bool> final_;
  int begin_ = 0;  // the first parameter that was not handed on
  int end_ = 0;    // all of [begin_, end_) are final
};

}  // namespace lockstep::nn
