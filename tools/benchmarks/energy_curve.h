// The energy that a device has taken over time, from readings of a counter that moves in steps.
#pragma once

#include <vector>

namespace lockstep {

class EnergyCurve {
 public:
  // A reading, later than those before. Only the moments at which the counter moves count.
  void Add(double seconds, double joules);

  // Mean power between two times, on lines through those moments and beyond the outermost; 0 if
  // the counter moved fewer than two times.
  double Watts(double begin, double end) const;

 private:
  struct Point {
    double seconds, joules;
  };

  double JoulesAt(double seconds) const;

  std::vector<Point> readings_;  // the first, and those that differ from the one before
};

}  // namespace lockstep
