#include "trainer/rehearsal.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "base/stopwatch.h"
#include "base/thread_pool.h"
#include "data/loader.h"
#include "nn/packed_tokens.h"
#include "tensor/kernels/attention.h"
#include "tensor/runtime.h"
#include "trainer/step/device_pack.h"
#include "trainer/step/step_gradient.h"

namespace lockstep {
namespace {

// Steps that are looked at; those of a longer run are like them.
constexpr int64_t kMaxSteps = 2000;
// Packs that are rehearsed, of either sort.
constexpr int64_t kMaxPacks = 16;
// Packs whose plans there must be before step one. A plan takes 50 ms, or most of a second where
// its kernel is compiled for the first time on a machine; data of many lengths need hundreds.
constexpr size_t kFirstPacks = 64;
constexpr int kMostThreads = 8, kThreadsBesideTraining = 2;

// The first layer of each kind.
std::vector<int> KindsOfLayers(const nn::ModelConfig& config) {
  std::vector<int> firsts;
  std::set<std::pair<int64_t, int64_t>> seen;
  for (int i = 0; i < static_cast<int>(config.layers.size()); ++i) {
    const nn::LayerConfig& layer = config.layers[i];
    if (seen.insert({layer.window, layer.rope}).second) firsts.push_back(i);
  }
  return firsts;
}

nn::Decoder OneLayerOfEachKind(const nn::Decoder& decoder) {
  nn::ModelConfig config = decoder.config();
  nn::DecoderWeights weights = decoder.weights();
  config.layers.clear();
  weights.layers.clear();
  for (const int i : KindsOfLayers(decoder.config())) {
    config.layers.push_back(decoder.config().layers[i]);
    weights.layers.push_back(decoder.weights().layers[i]);
  }
  return nn::Decoder(std::move(config), std::move(weights), decoder.compute_dtype());
}

// The head's rows go through in chunks: a whole one and the last one stand for all.
void ShortenTargets(int64_t chunk_rows, data::Pack* pack) {
  const int64_t count = pack->num_supervised();
  const int64_t enough = std::min(count, chunk_rows + count % chunk_rows);
  pack->target_rows.resize(enough);
  pack->targets.resize(enough);
}

// What attention computes for a pack, in one kind of layer.
kernels::AttentionProblem ProblemOf(Device device, const Rehearsal::Attention& attention,
                                    absl::Span<const data::Piece> pieces,
                                    const data::PackPlan& pack, int layer, bool backward) {
  const nn::ModelConfig& config = attention.config;
  kernels::AttentionProblem problem;
  problem.shape = {nn::PaddedRows(pack.num_tokens, RowMultiple(device.type)), config.num_heads,
                   config.num_kv_heads, config.head_dim, attention.dtype};
  problem.starts = data::DocumentStarts(pieces, pack);
  problem.options = nn::AttentionOf(config, layer, attention.forward);
  problem.backward = backward;
  return problem;
}

}  // namespace

std::vector<PlannedPack> PacksOf(const data::StepPlan& plan, const RankSteps& steps) {
  std::vector<PlannedPack> packs;
  for (int64_t s = steps.first; s < std::min(steps.end, steps.first + kMaxSteps); ++s) {
    data::StepPacks step = plan.Step(s);
    const auto dealt = data::DealPacks(step.packs, steps.size);
    for (const int64_t i : dealt[steps.rank]) {
      packs.push_back({step.epoch, std::move(step.packs[i])});
    }
  }
  return packs;
}

std::vector<PlannedPack> OneOfEachKind(const std::vector<PlannedPack>& packs,
                                       const std::vector<bool>& new_kind, int64_t row_multiple) {
  const auto rows_of = [&](const PlannedPack& pack) {
    return nn::PaddedRows(pack.plan.num_tokens, row_multiple);
  };
  std::vector<PlannedPack> chosen;
  std::map<int64_t, const PlannedPack*> by_rows;
  for (size_t i = 0; i < packs.size(); ++i) {
    if (new_kind[i] && std::ssize(chosen) < kMaxPacks) chosen.push_back(packs[i]);
    by_rows.try_emplace(rows_of(packs[i]), &packs[i]);
  }
  for (const PlannedPack& pack : chosen) by_rows.erase(rows_of(pack));
  // The i-th of n is taken where the number of taken ones, in proportion, goes up.
  const int64_t n = std::ssize(by_rows), most = std::min(n, kMaxPacks);
  int64_t i = 0;
  for (const auto& [rows, pack] : by_rows) {
    if ((i + 1) * most / n > i * most / n) chosen.push_back(*pack);
    ++i;
  }
  return chosen;
}

Rehearsal::Rehearsal(Device device, const Attention& attention, const TrainingData& data,
                     const RankSteps& steps) {
  if (device.type != DeviceType::kCUDA) return;
  ready_ = std::async(std::launch::async, [this, device, attention, &data, steps] {
    return Prepare(device, attention, data, steps);
  });
}

Rehearsal::~Rehearsal() { stop_ = true; }

Rehearsal::Ready Rehearsal::Prepare(Device device, const Attention& attention,
                                    const TrainingData& data, const RankSteps& steps) {
  const Stopwatch watch;
  const std::vector<PlannedPack> packs = PacksOf(*data.plan, steps);
  const size_t num_first = std::min(packs.size(), kFirstPacks);
  const std::vector<int> layers = KindsOfLayers(attention.config);
  std::vector<kernels::AttentionProblem> first, later;
  for (const data::PackPlan& pack : data.evaluation) {
    for (const int layer : layers) {
      later.push_back(
          ProblemOf(device, attention, data.validation.pieces, pack, layer, /*backward=*/false));
    }
  }
  for (size_t i = 0; i < packs.size(); ++i) {
    for (const int layer : layers) {
      (i < num_first ? first : later)
          .push_back(ProblemOf(device, attention, data.train.pieces, packs[i].plan, layer,
                               /*backward=*/true));
    }
  }
  const std::vector<bool> needs_new_plan =
      kernels::PrepareAttention(device, first, std::min(kMostThreads, NumThreads()), stop_);
  later_ = std::async(std::launch::async, [this, device, later = std::move(later)] {
    kernels::PrepareAttention(device, later, kThreadsBesideTraining, stop_);
  });

  std::vector<bool> new_kind(packs.size(), false);
  for (size_t i = 0; i < first.size(); ++i) {
    new_kind[i / layers.size()] = new_kind[i / layers.size()] || needs_new_plan[i];
  }
  Ready ready;
  for (const PlannedPack& pack : OneOfEachKind(packs, new_kind, RowMultiple(device.type))) {
    ready.packs.push_back(
        data::BuildPack(*data.documents.train, data.train.pieces, pack.plan, pack.epoch));
  }
  ready.plans = kernels::NumAttentionPlans();
  ready.seconds = watch.Seconds();
  return ready;
}

std::string Rehearsal::Run(const Context& context, const nn::ForwardOptions& forward,
                           const ReductionOptions& reduction, dist::Communicator* communicator,
                           nn::Model* model) {
  if (!ready_.valid()) return "";
  const Stopwatch watch;
  Ready ready = ready_.get();
  const double waited = watch.Seconds();
  const nn::Decoder decoder = OneLayerOfEachKind(model->decoder());
  data::RankStep step;
  step.packs = std::move(ready.packs);
  for (data::Pack& pack : step.packs) ShortenTargets(decoder.HeadChunkRows(), &pack);
  step.num_packs = communicator->size() * 2 * kMaxPacks;
  step.num_supervised = 1;
  DataParallel parallel(context, &model->parameters(), communicator, reduction);
  StepGradient(context, decoder, step, forward, /*stop_requested=*/false, &parallel,
               [](const char*, int64_t) {});
  parallel.Gather(model->parameters().image());  // the same on all ranks
  Synchronize(context.stream);
  return absl::StrFormat(
      "made ready before the first step: %d attention plans in %.2f s beside the weights (%.2f s "
      "more), packs of %d kinds in %.2f s",
      ready.plans, ready.seconds, waited, step.packs.size(), watch.Seconds() - waited);
}

}  // namespace lockstep
