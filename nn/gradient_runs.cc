#include "nn/gradient_runs.h"

#include <utility>

namespace lockstep::nn {

GradientRuns::GradientRuns(const FlatParameters& parameters,
                           std::function<void(int first, int end)> on_run, int64_t least_numel)
    : parameters_(parameters),
      on_run_(std::move(on_run)),
      least_numel_(least_numel),
      final_(parameters.num_parameters(), false) {}

void GradientRuns::Add(int index) {
  final_[index] = true;
  while (end_ < parameters_.num_parameters() && final_[end_]) ++end_;
  if (begin_ == end_) return;
  const Parameter& last = parameters_.parameters()[end_ - 1];
  if (last.offset + last.numel - parameters_.parameters()[begin_].offset < least_numel_) return;
  on_run_(begin_, end_);
  begin_ = end_;
}

void GradientRuns::Finish() {
  while (begin_ < parameters_.num_parameters()) {
    for (end_ = begin_; end_ < parameters_.num_parameters() && final_[end_];) ++end_;
    if (end_ > begin_) on_run_(begin_, end_);
    begin_ = end_ + 1;  // parameter end_ is not final
  }
}

}  // namespace lockstep::nn
