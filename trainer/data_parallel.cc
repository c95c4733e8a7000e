#include "trainer/data_parallel.h"

#include "base/check.h"
#include "dist/bucket_plan.h"
#include "nn/host_tensor.h"
#include "tensor/kernels/accumulate.h"
#include "tensor/kernels/cast.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/fixed_point.h"

namespace lockstep {
namespace {

bool IsExact(const nn::FlatParameters& parameters) {
  return parameters.options().sum_dtype == DType::kI64;
}

Tensor Ones(const Context& context) {
  Tensor ones = Tensor::Empty(*context.allocator, DType::kF64, {1});
  kernels::Fill(context.stream, ones.Mutable("seed"), 1.0);
  return ones;
}

}  // namespace

dist::BucketPlan PlanReduction(const nn::FlatParameters& parameters, double bucket_cap_mb) {
  std::vector<dist::ParameterRange> ranges;
  for (const nn::Parameter& p : parameters.parameters()) {
    ranges.push_back({p.spec.name, p.offset, p.numel});
  }
  // The slots lie behind the flat buffer's end, alignment included.
  if (!ranges.empty()) ranges.back().numel = parameters.numel() - ranges.back().offset;
  dist::BucketLimits limits;
  limits.cap_bytes = static_cast<int64_t>(bucket_cap_mb * (1 << 20));
  limits.element_bytes = static_cast<int>(SizeOf(parameters.options().sum_dtype));
  return dist::PlanBuckets(ranges, limits);
}

DataParallel::DataParallel(const Context& context, nn::FlatParameters* parameters,
                           dist::Communicator* communicator, double bucket_cap_mb)
    : context_(context),
      parameters_(parameters),
      reducer_(PlanReduction(*parameters, bucket_cap_mb), *communicator, parameters->sums().view(),
               context.stream),
      ones_(Ones(context)) {
  CHECK_EQ(parameters->options().num_slots, dist::kNumStepSlots);
}

void DataParallel::BeginStep(int64_t packs_in_step) {
  packs_in_step_ = packs_in_step;
  ready_.assign(parameters_->num_parameters(), false);
  parameters_->ZeroSums(context_);
}

void DataParallel::Backward(autograd::Tape& tape, const autograd::HeadNllResult& nll, bool last) {
  AddToSlot(dist::kLossSlot, nll.nll_sum);
  tape.Backward({nll.loss}, {ones_}, [&](const autograd::Variable& leaf) {
    const int parameter = parameters_->IndexOf(leaf);
    parameters_->AddToSums(context_, parameter, packs_in_step_, dist::kOverflowSlot);
    if (last) MarkReady(parameter);
  });
}

StepSums DataParallel::FinishStep(bool stop_requested) {
  // What no pack of this rank has used goes in as zeros.
  for (int i = 0; i < parameters_->num_parameters(); ++i) {
    if (!ready_[i]) MarkReady(i);
  }
  if (stop_requested) {
    kernels::Fill(
        context_.stream,
        parameters_->slots().Slice(0, dist::kStopSlot, dist::kStopSlot + 1).Mutable("stop"), 1.0);
  }
  reducer_.MarkReady(reducer_.plan().slots_member());
  reducer_.Finish();

  const std::vector<double> slots = HostSlots();
  StepSums sums;
  sums.loss_sum = slots[dist::kLossSlot] * (IsExact(*parameters_) ? dist::kLossQuantum : 1.0);
  sums.num_overflow = slots[dist::kOverflowSlot];
  sums.stop = slots[dist::kStopSlot] != 0;
  return sums;
}

std::vector<double> DataParallel::HostSlots() const {
  const Tensor slots = parameters_->slots();
  if (IsExact(*parameters_)) {
    const std::vector<int64_t> values = nn::ToHost<int64_t>(context_, slots);
    return std::vector<double>(values.begin(), values.end());
  }
  const std::vector<float> values = nn::ToHost<float>(context_, slots);
  return std::vector<double>(values.begin(), values.end());
}

void DataParallel::MarkReady(int parameter) {
  ready_[parameter] = true;
  reducer_.MarkReady(parameter);
}

void DataParallel::AddToSlot(int slot, const View& value) {
  const Tensor slots = parameters_->slots();
  const Tensor target = slots.Slice(0, slot, slot + 1);
  if (IsExact(*parameters_)) {
    const Tensor overflow = slots.Slice(0, dist::kOverflowSlot, dist::kOverflowSlot + 1);
    kernels::AddFixedPoint(context_.stream, value, kernels::kLossFractionBits, packs_in_step_,
                           target.Mutable("loss slot"), overflow.Mutable("loss slot"));
  } else {
    const Tensor rounded = Tensor::Empty(*context_.allocator, DType::kF32, {1});
    kernels::Cast(context_.stream, value, rounded.Mutable("loss slot"));
    kernels::Accumulate(context_.stream, rounded, target.Mutable("loss slot"));
  }
}

}  // namespace lockstep
