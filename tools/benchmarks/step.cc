#include "tools/benchmarks/step.h"

#include <numeric>
#include <random>

#include "autograd/tape.h"
#include "base/hash.h"
#include "nn/gradient_runs.h"
#include "nn/host_tensor.h"
#include "tensor/kernels/fill.h"

namespace lockstep {
namespace {

constexpr int kOverflowSlot = 0;

}  // namespace

BenchStep::BenchStep(const Context& context, nn::Model* model, int64_t documents, int64_t length,
                     const nn::ForwardOptions& forward)
    : context_(context),
      model_(model),
      forward_(forward),
      optimizer_(context, model->parameters(), {}, kOverflowSlot),
      seed_(Tensor::Empty(*context.allocator, DType::kF64, {1})) {
  kernels::Fill(context.stream, seed_.Mutable("seed"), 1.0);
  std::mt19937 bits(7);
  const auto vocab = static_cast<uint32_t>(model->config().vocab_size);
  for (int64_t d = 0; d < documents; ++d) {
    starts_.push_back(static_cast<int32_t>(d * length));
    for (int64_t i = 0; i < length; ++i) {
      ids_.push_back(static_cast<int32_t>(bits() % vocab));
      positions_.push_back(static_cast<int32_t>(i));
      if (i == 0) continue;
      rows_.push_back(static_cast<int32_t>(ids_.size()) - 2);
      targets_.push_back(ids_.back());
    }
  }
  starts_.push_back(static_cast<int32_t>(documents * length));
  token_keys_.resize(ids_.size());
  std::iota(token_keys_.begin(), token_keys_.end(), 0);
}

nn::PackedTokens BenchStep::Pack() const {
  return nn::ToDevice(context_, {ids_, positions_, starts_, rows_, targets_, token_keys_});
}

void BenchStep::Gradient() {
  nn::FlatParameters& parameters = model_->parameters();
  parameters.ZeroSums(context_);
  const nn::PackedTokens pack = Pack();
  autograd::Tape tape(context_);
  const nn::Decoder& decoder = model_->decoder();
  const autograd::HeadNllResult nll =
      decoder.NllSum(tape, decoder.Hidden(tape, pack, forward_), pack,
                     1.0 / static_cast<double>(rows_.size()), forward_);
  nn::GradientRuns runs(parameters, [&](int first, int end) {
    parameters.AddToSums(context_, first, end, /*packs_in_step=*/1, kOverflowSlot);
  });
  tape.Backward({nll.loss}, {seed_},
                [&](const autograd::Variable& leaf) { runs.Add(parameters.IndexOf(leaf)); });
  runs.Finish();
  nll_sum_ = nll.nll_sum;
}

void BenchStep::Run() {
  Gradient();
  optimizer_.Step(context_, model_->parameters(), ++step_, /*learning_rate=*/1e-4);
}

uint64_t BenchStep::HashOfGradient() {
  Gradient();
  const std::vector<int64_t> sums = nn::ToHost<int64_t>(context_, model_->parameters().sums());
  return Hash64({reinterpret_cast<const char*>(sums.data()), sums.size() * sizeof(int64_t)});
}

double BenchStep::Loss() const {
  return nn::ToHost<double>(context_, nll_sum_)[0] / static_cast<double>(rows_.size());
}

}  // namespace lockstep
