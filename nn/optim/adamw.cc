#include "nn/optim/adamw.h"

#include <vector>

#include "tensor/kernels/adamw.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/norm.h"

namespace lockstep::nn {
namespace {

// Neighbors with the same rates as one range; the alignment between them belongs to it, all zeros.
std::vector<kernels::AdamWRange> Ranges(const FlatParameters& parameters, double learning_rate,
                                        double weight_decay) {
  std::vector<kernels::AdamWRange> ranges;
  for (const Parameter& parameter : parameters.parameters()) {
    const kernels::AdamWRange range{parameter.offset, parameter.offset + parameter.numel,
                                    learning_rate * parameter.spec.learning_rate_ratio,
                                    parameter.spec.decays ? weight_decay : 0.0};
    if (!ranges.empty() && ranges.back().lr == range.lr &&
        ranges.back().weight_decay == range.weight_decay) {
      ranges.back().end = range.end;
    } else {
      ranges.push_back(range);
    }
  }
  return ranges;
}

}  // namespace

AdamW::AdamW(const Context& context, const FlatParameters& parameters, const AdamWOptions& options,
             int overflow_slot)
    : options_(options), overflow_slot_(overflow_slot) {
  Allocator& allocator = *context.allocator;
  norm_and_factor_ = Tensor::Empty(allocator, DType::kF64, {2});
  partials_ = Tensor::Empty(allocator, DType::kF64, {kernels::NormPartials(parameters.numel())});
  no_overflow_ = Tensor::Empty(allocator, DType::kI64, {1});
  kernels::Fill(context.stream, no_overflow_.Mutable("adamw"), 0.0);
}

void AdamW::Step(const Context& context, FlatParameters& parameters, int64_t step,
                 double learning_rate) {
  const int64_t numel = parameters.numel();
  const Tensor gradient = parameters.sums().Slice(0, 0, numel);
  const Tensor norm = norm_and_factor_.Slice(0, 0, 1), factor = norm_and_factor_.Slice(0, 1, 2);
  kernels::Norm(context.stream, gradient, norm.Mutable("adamw"), partials_.Mutable("adamw"));
  kernels::ClipCoefficient(context.stream, norm, options_.max_grad_norm, factor.Mutable("adamw"));
  const bool exact = parameters.sums().dtype() == DType::kI64;
  const Tensor overflow =
      exact ? parameters.slots().Slice(0, overflow_slot_, overflow_slot_ + 1) : no_overflow_;
  const std::vector<kernels::AdamWRange> ranges =
      Ranges(parameters, learning_rate, options_.weight_decay);
  const bool separate_image = parameters.image().dtype() != parameters.values().dtype();
  kernels::AdamW(context.stream, gradient, factor, overflow,
                 {options_.beta1, options_.beta2, options_.eps, step},
                 {ranges.data(), static_cast<int64_t>(ranges.size())},
                 parameters.values().Mutable("adamw"), parameters.exp_avg().Mutable("adamw"),
                 parameters.exp_avg_sq().Mutable("adamw"),
                 separate_image ? parameters.image().Mutable("adamw") : View());
}

}  // namespace lockstep::nn
