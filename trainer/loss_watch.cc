#include "trainer/loss_watch.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace lockstep {
namespace {

constexpr size_t kWindow = 64, kFewest = 16;
constexpr double kSpreads = 6, kShare = 0.5, kLeast = 0.25;
constexpr double kDeviationOfNormal = 1.4826;  // in median distances

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

std::optional<LossWatch::Finding> LossWatch::Add(double loss, double grad_norm) {
  const bool was_zero = std::exchange(in_zero_, loss == 0 || grad_norm == 0);
  bool was_spike = false;
  double usual = 0;
  if (recent_.size() >= kFewest) {
    const std::vector<double> losses(recent_.begin(), recent_.end());
    usual = Median(losses);
    std::vector<double> distances;
    for (const double other : losses) distances.push_back(std::abs(other - usual));
    const double spread = kDeviationOfNormal * Median(std::move(distances));
    const double limit = usual + std::max({kSpreads * spread, kShare * usual, kLeast});
    was_spike = std::exchange(in_spike_, loss > limit);
  }
  recent_.push_back(loss);
  if (recent_.size() > kWindow) recent_.pop_front();
  if (in_zero_ && !was_zero) return Finding{Kind::kZero};
  if (in_spike_ && !was_spike) return Finding{Kind::kSpike, usual};
  return std::nullopt;
}

}  // namespace lockstep
