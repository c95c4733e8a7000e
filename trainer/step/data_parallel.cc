#include "trainer/step/data_parallel.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "dist/bucket_plan.h"
#include "nn/gradient_runs.h"
#include "nn/host_tensor.h"
#include "tensor/kernels/accumulate.h"
#include "tensor/kernels/cast.h"
#include "tensor/kernels/fill.h"
#include "tensor/kernels/fixed_point.h"
#include "tensor/kernels/norm.h"

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

Tensor Rounded(const Context& context, const nn::FlatParameters& parameters, GradientSum sum) {
  if (sum != GradientSum::kBf16) return Tensor();
  Tensor rounded = Tensor::Empty(*context.allocator, DType::kBF16, {parameters.numel()});
  kernels::Fill(context.stream, rounded.Mutable("gaps between parameters"), 0.0);
  return rounded;
}

// Bucket sizes follow the dtype that travels. The slots ride along where it is that of the sums.
dist::BucketPlan PlanReduction(const nn::FlatParameters& parameters, DType dtype, bool has_slots,
                               const ReductionOptions& options, int ranks) {
  std::vector<dist::ParameterRange> ranges;
  for (const nn::Parameter& p : parameters.parameters()) {
    ranges.push_back({p.spec.name, p.offset, p.numel});
  }
  // The slots lie behind the flat buffer's end, alignment included.
  if (!ranges.empty()) ranges.back().numel = parameters.numel() - ranges.back().offset;
  dist::BucketLimits limits;
  limits.element_bytes = static_cast<int>(SizeOf(dtype));
  limits.num_slots = has_slots ? dist::kNumStepSlots : 0;
  limits.parts = options.shares_update ? ranks : 1;
  // Of what a rank gets: parts keep their size with more ranks.
  limits.cap_bytes = static_cast<int64_t>(options.bucket_cap_mb * (1 << 20)) * limits.parts;
  limits.part_unit = kernels::kNormChunk;
  return dist::PlanBuckets(ranges, limits);
}

}  // namespace

DType SumDtype(GradientSum sum) { return sum == GradientSum::kExact ? DType::kI64 : DType::kF32; }

std::vector<DataParallel::OwnRange> DataParallel::OwnRanges(const dist::BucketPlan& plan, int rank,
                                                            int64_t numel) {
  std::vector<OwnRange> ranges;
  for (const dist::BucketPlan::Bucket& b : plan.buckets) {
    if (b.parts == 1) break;
    ranges.push_back({b.begin_of(rank), b.end_of(rank), b.begin, b.end, ranges.size()});
  }
  if (plan.shared < numel) {
    ranges.push_back({plan.shared, numel, plan.shared, numel, ranges.size()});
  }
  return ranges;
}

DataParallel::DataParallel(const Context& context, nn::FlatParameters* parameters,
                           dist::Communicator* communicator, const ReductionOptions& options)
    : context_(context),
      parameters_(parameters),
      communicator_(communicator),
      rounded_(Rounded(context, *parameters, options.sum)),
      traveling_(rounded_.defined() ? rounded_.Mutable("rounded sums") : parameters->sums().view()),
      reducer_(PlanReduction(*parameters, traveling_.dtype, !rounded_.defined(), options,
                             communicator->size()),
               *communicator, traveling_, context.stream),
      own_(OwnRanges(plan(), communicator->rank(), parameters->numel())),
      ones_(Ones(context)) {
  CHECK_EQ(parameters->options().num_slots, dist::kNumStepSlots);
  CHECK_EQ(IsExact(*parameters), options.sum == GradientSum::kExact);
}

DataParallel::~DataParallel() {
  parameters_->Await();
  parameters_->SetAwait(nullptr);
}

void DataParallel::BeginStep(int64_t packs_in_step) {
  packs_in_step_ = packs_in_step;
  ready_.assign(parameters_->num_parameters(), false);
  // Update has left zeros but for the slots, which are read back later.
  const int64_t zeros = sums_are_zero_ ? parameters_->numel() : 0;
  parameters_->ZeroSums(context_, zeros, parameters_->sums().numel());
  sums_are_zero_ = false;
}

void DataParallel::Backward(autograd::Tape& tape, const autograd::HeadNllResult& nll, bool last) {
  QueueState();
  AddToSlot(dist::kLossSlot, nll.nll_sum);
  nn::GradientRuns runs(*parameters_, [&](int first, int end) {
    parameters_->AddToSums(context_, first, end, packs_in_step_, dist::kOverflowSlot);
    for (int i = first; last && i < end; ++i) MarkReady(i);
  });
  tape.Backward({nll.loss}, {ones_},
                [&](const autograd::Variable& leaf) { runs.Add(parameters_->IndexOf(leaf)); });
  runs.Finish();
}

void DataParallel::FinishStep(bool stop_requested) {
  QueueState();
  // What no pack of this rank has used goes in as zeros.
  for (int i = 0; i < parameters_->num_parameters(); ++i) {
    if (!ready_[i]) MarkReady(i);
  }
  if (stop_requested) {
    kernels::Fill(
        context_.stream,
        parameters_->slots().Slice(0, dist::kStopSlot, dist::kStopSlot + 1).Mutable("stop"), 1.0);
  }
  ReduceSlots();
  reducer_.Finish();
  if (!is_rounded()) return;
  for (const OwnRange& own : own_) {
    kernels::Cast(context_.stream, rounded_.Slice(0, own.begin, own.end),
                  parameters_->sums().Slice(0, own.begin, own.end).Mutable("sums"));
  }
}

void DataParallel::Update(nn::AdamW* optimizer, int64_t step, double learning_rate) {
  if (plan().shared > 0) {
    kernels::Fill(context_.stream, optimizer->partials().Mutable("norm"), 0.0);
  }
  for (const OwnRange& own : own_) {
    optimizer->AddToNorm(context_, *parameters_, own.begin, own.end);
  }
  ShareNorm(optimizer->partials());
  optimizer->Clip(context_);
  parameters_->Await();  // without a pack this rank has read none of the last step's
  // The last parameters first, as the next forward pass reads them.
  for (auto own = own_.rbegin(); own != own_.rend(); ++own) {
    optimizer->Update(context_, *parameters_, own->begin, own->end, step, learning_rate);
    // The image of this part is on its way while the next one is computed.
    if (own->is_shared()) {
      arriving_.push_back({own->all_end, Gather(*own, parameters_->image(), "weights")});
    }
    parameters_->ZeroSums(context_, own->all_begin, own->all_end);
  }
  sums_are_zero_ = true;
  // Where several of these take turns (tools/benchmarks/scaling.cc) the last to update is asked.
  parameters_->SetAwait([this](int64_t offset) { AwaitWeights(offset); });
}

// Collectives run in the order of their calls, so who waits for the last has all of them.
void DataParallel::AwaitWeights(int64_t offset) {
  const auto needed = std::partition_point(arriving_.begin(), arriving_.end(),
                                           [&](const Arriving& a) { return a.end > offset; });
  if (needed == arriving_.begin()) return;
  communicator_->Wait(std::prev(needed)->work, context_.stream);
  arriving_.erase(arriving_.begin(), needed);
}

void DataParallel::Gather(const Tensor& buffer) {
  communicator_->Wait(QueueGather(buffer, "a part"), context_.stream);
}

void DataParallel::AwaitState() {
  parameters_->Await();
  QueueState();
  communicator_->Wait(state_, context_.stream);
}

// Dozens of collectives: they are queued while the device is at a forward pass, and go before the
// step's sums on every rank.
void DataParallel::QueueState() {
  if (!std::exchange(state_requested_, false)) return;
  for (const Tensor& buffer : parameters_->state()) {
    const bool comes_as_weights = buffer.SharesMemoryWith(parameters_->image());
    if (!comes_as_weights) state_ = QueueGather(buffer, "state");
  }
}

dist::Communicator::Work DataParallel::QueueGather(const Tensor& buffer, const char* what) {
  dist::Communicator::Work gathered;
  for (const OwnRange& own : own_) {
    if (own.is_shared()) gathered = Gather(own, buffer, what);
  }
  return gathered;
}

dist::Communicator::Work DataParallel::Gather(const OwnRange& own, const Tensor& buffer,
                                              const char* what) {
  const View all = buffer.Mutable("gather");
  return communicator_->AllGather(all.Slice(0, own.begin, own.end),
                                  all.Slice(0, own.all_begin, own.all_end), context_.stream,
                                  absl::StrCat(what, " of bucket ", own.bucket));
}

// A chunk's sum of squares is zero but on the one rank that has it. All have the last chunks.
void DataParallel::ShareNorm(const Tensor& partials) {
  const int64_t chunks = plan().shared / kernels::kNormChunk;
  if (chunks == 0) return;
  const View shared = partials.Slice(0, 0, chunks).Mutable("norm");
  communicator_->Wait(
      communicator_->AllReduce(shared, dist::ReduceOp::kSum, context_.stream, "of the norm"),
      context_.stream);
}

StepSums DataParallel::ReadSums() const {
  std::vector<char> bytes(View(slots()).num_bytes());
  CopyToHost(context_.stream, slots(), bytes.data());
  return Decode(bytes.data());
}

StepSums DataParallel::Decode(const void* host_slots) const {
  const bool exact = IsExact(*parameters_);
  const auto slot = [&](int i) {
    return exact ? static_cast<double>(static_cast<const int64_t*>(host_slots)[i])
                 : static_cast<double>(static_cast<const float*>(host_slots)[i]);
  };
  StepSums sums;
  sums.loss_sum = std::ldexp(slot(dist::kLossSlot), exact ? -kernels::kLossFractionBits : 0);
  sums.num_overflow = slot(dist::kOverflowSlot);
  sums.stop = slot(dist::kStopSlot) != 0;
  return sums;
}

bool DataParallel::OwnSumsAreFinite() const {
  if (IsExact(*parameters_)) return ReadSums().num_overflow == 0;
  const Tensor sums = parameters_->sums();
  const Tensor partials =
      Tensor::Empty(*context_.allocator, DType::kF64, {kernels::NormPartials(sums.numel())});
  const Tensor norm = Tensor::Empty(*context_.allocator, DType::kF64, {1});
  kernels::Norm(context_.stream, sums, norm.Mutable("norm"), partials.Mutable("norm"));
  return std::isfinite(nn::ToHost<double>(context_, norm)[0]);
}

// Too fine for bf16: where gradients are rounded they travel by themselves.
void DataParallel::ReduceSlots() {
  if (!is_rounded()) return reducer_.MarkReady(reducer_.plan().slots_member());
  const Tensor slots = parameters_->slots();
  communicator_->Wait(communicator_->AllReduce(slots.Mutable("slots"), dist::ReduceOp::kSum,
                                               context_.stream, "the step's slots"),
                      context_.stream);
}

void DataParallel::MarkReady(int parameter) {
  ready_[parameter] = true;
  if (is_rounded()) {
    kernels::Cast(context_.stream, parameters_->Part(parameters_->sums(), parameter),
                  parameters_->Part(rounded_, parameter).Mutable("rounded sums"));
  }
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
