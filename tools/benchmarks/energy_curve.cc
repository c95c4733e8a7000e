#include "tools/benchmarks/energy_curve.h"

#include <algorithm>

namespace lockstep {

void EnergyCurve::Add(double seconds, double joules) {
  if (readings_.empty() || joules != readings_.back().joules) {
    readings_.push_back({seconds, joules});
  }
}

double EnergyCurve::Watts(double begin, double end) const {
  if (readings_.size() < 3) return 0;  // when the first reading's value came is not known
  return (JoulesAt(end) - JoulesAt(begin)) / (end - begin);
}

double EnergyCurve::JoulesAt(double seconds) const {
  const auto after =
      std::lower_bound(readings_.begin() + 2, readings_.end() - 1, seconds,
                       [](const Point& point, double at) { return point.seconds < at; });
  const Point &x = after[-1], &y = after[0];
  return x.joules + (seconds - x.seconds) * (y.joules - x.joules) / (y.seconds - x.seconds);
}

}  // namespace lockstep
