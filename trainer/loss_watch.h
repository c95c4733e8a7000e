// Notices when a step's loss is not what the steps before let expect.
//
// A spike: the loss exceeds m + max(6·s, m/2, 0.25), where m is the median of the last 64 steps'
// losses, at least 16 of them, and s = 1.4826 × their median distance from m (for normally
// distributed losses the standard deviation). Nothing to learn: the loss, or the gradient's norm,
// is exactly 0.
//
// The same on all ranks: all of them start with the same step, and a resumed run forgets.
#pragma once

#include <deque>
#include <optional>

namespace lockstep {

class LossWatch {
 public:
  enum class Kind { kSpike, kZero };
  struct Finding {
    Kind kind;
    double usual = 0;  // kSpike: m
  };

  // Once for each step whose loss is finite. A state that lasts is told when it begins.
  std::optional<Finding> Add(double loss, double grad_norm);

 private:
  std::deque<double> recent_;
  bool in_spike_ = false;
  bool in_zero_ = false;
};

}  // namespace lockstep
