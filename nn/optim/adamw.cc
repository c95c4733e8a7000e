#include "nn/optim/adamw.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "tensor/kernels/adamw.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/norm.h"

namespace lockstep::nn {
namespace {

// What lies in [begin, end), counted from there. Neighbors with the same rates are one range; the
// alignment between them belongs to it, all zeros.
std::vector<kernels::AdamWRange> Ranges(const FlatParameters& parameters, int64_t begin,
                                        int64_t end, double learning_rate, double weight_decay) {
  std::vector<kernels::AdamWRange> ranges;
  for (const Parameter& parameter : parameters.parameters()) {
    const int64_t first = std::max(parameter.offset, begin);
    const int64_t last = std::min(parameter.offset + parameter.numel, end);
    if (first >= last) continue;
    const kernels::AdamWRange range{first - begin, last - begin,
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
  AddToNorm(context, parameters, 0, parameters.numel());
  Clip(context);
  Update(context, parameters, 0, parameters.numel(), step, learning_rate);
}

void AdamW::AddToNorm(const Context& context, const FlatParameters& parameters, int64_t begin,
                      int64_t end) {
  CHECK_EQ(begin % kernels::kNormChunk, 0) << "[adamw] want whole chunks of the norm";
  const int64_t first = begin / kernels::kNormChunk;
  kernels::SquareSums(
      context.stream, parameters.sums().Slice(0, begin, end),
      partials_.Slice(0, first, first + kernels::NormPartials(end - begin)).Mutable("adamw"));
}

void AdamW::Clip(const Context& context) {
  const Tensor norm = norm_and_factor_.Slice(0, 0, 1), factor = norm_and_factor_.Slice(0, 1, 2);
  kernels::RootOfSum(context.stream, partials_, norm.Mutable("adamw"));
  kernels::ClipCoefficient(context.stream, norm, options_.max_grad_norm, factor.Mutable("adamw"));
}

void AdamW::Update(const Context& context, FlatParameters& parameters, int64_t begin, int64_t end,
                   int64_t step, double learning_rate) {
  const bool exact = parameters.sums().dtype() == DType::kI64;
  const Tensor overflow =
      exact ? parameters.slots().Slice(0, overflow_slot_, overflow_slot_ + 1) : no_overflow_;
  const std::vector<kernels::AdamWRange> ranges =
      Ranges(parameters, begin, end, learning_rate, options_.weight_decay);
  const bool separate_image = parameters.image().dtype() != parameters.values().dtype();
  const auto part = [&](const Tensor& buffer) {
    return buffer.Slice(0, begin, end).Mutable("adamw");
  };
  kernels::AdamW(context.stream, part(parameters.sums()), norm_and_factor_.Slice(0, 1, 2), overflow,
                 {options_.beta1, options_.beta2, options_.eps, step},
                 {ranges.data(), static_cast<int64_t>(ranges.size())}, part(parameters.values()),
                 part(parameters.exp_avg()), part(parameters.exp_avg_sq()),
                 separate_image ? part(parameters.image()) : View());
}

}  // namespace lockstep::nn
