// Energy, time and clock of a kernel in long rows of calls.
//
// A GPU at its power limit does in a second what the energy of its kernels allows, so kernels are
// compared by joules, in rows that are long enough for the clock to settle. Rows follow each other
// without a pause: a GPU that has rested runs its next row at a clock that it cannot hold.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "tensor/context.h"
#include "tools/benchmarks/gpu_meter.h"

namespace lockstep {

// Of one call, means over a row. Without a meter watts and megahertz are 0.
struct EnergyRow {
  double ms = 0, watts = 0, megahertz = 0;
  double joules() const { return 1e-3 * ms * watts; }
};

class EnergyRows {
 public:
  struct Row {
    std::function<void()> call;  // queues it
    double about_ms = 0;
  };
  // Each row lasts about `settle_ms`, which do not count, and `ms`.
  struct Lengths {
    double settle_ms, ms;
  };

  explicit EnergyRows(const Context& context);

  std::vector<EnergyRow> Measure(const std::vector<Row>& rows, const Lengths& lengths) const;

 private:
  const Context context_;
  const std::unique_ptr<GpuMeter> meter_;
};

}  // namespace lockstep
