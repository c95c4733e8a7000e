#include "tools/benchmarks/plan.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "absl/functional/function_ref.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/stopwatch.h"
#include "data/selection.h"
#include "data/step_plan.h"
#include "nn/config.h"
#include "trainer/plan/training_data.h"

namespace lockstep {
namespace {

struct Excess {
  double mean = 0, worst = 0;  // over the steps of an epoch but for its last, which is short
};
Excess ExcessOfSlowest(const data::StepPlan& plan, int ranks) {
  Excess excess;
  const int64_t steps = std::max<int64_t>(1, plan.steps_per_epoch() - 1);
  for (int64_t s = 0; s < steps; ++s) {
    const data::StepPacks step = plan.Step(s);
    double slowest = 0, all = 0;
    for (const auto& packs : data::DealPacks(step.packs, ranks)) {
      double cost = 0;
      for (const int64_t pack : packs) cost += static_cast<double>(step.packs[pack].cost);
      slowest = std::max(slowest, cost);
      all += cost;
    }
    const double more = slowest * ranks / all - 1;
    excess.mean += more / static_cast<double>(steps);
    excess.worst = std::max(excess.worst, more);
  }
  return excess;
}

void PrintTable(const std::vector<data::Piece>& pieces) {
  std::printf(
      "| documents a step | packs | 2 ranks | 4 ranks | 8 ranks |\n|---|---|---|---|---|\n");
  for (const int64_t batch : {16, 32, 64, 128, 256, 512, 1024, 2048}) {
    data::PlanOptions options;
    options.global_batch_size = batch;
    options.tokens_per_pack = data::DefaultTokensPerPack(pieces, batch);
    const data::StepPlan plan(pieces, options);
    const data::StepPlan::Summary summary = plan.Summarize();
    std::printf("| %ld | %ld to %ld |", long{batch}, long{summary.min_packs},
                long{summary.max_packs});
    for (const int ranks : {2, 4, 8}) {
      const Excess excess = ExcessOfSlowest(plan, ranks);
      std::printf(" %.2f %% (%.2f %%) |", 100 * excess.mean, 100 * excess.worst);
    }
    std::printf("\n");
  }
}

double SecondsOf(absl::FunctionRef<void()> work) {
  const Stopwatch watch;
  work();
  return watch.Seconds();
}

void TimePlanning(int64_t documents) {
  std::vector<data::Piece> pieces;
  for (int64_t i = 0; i < documents; ++i) {
    const auto length = static_cast<uint32_t>(20 + MixKeys(1, i) % 400 + MixKeys(2, i) % 13 * 40);
    pieces.push_back({i, 0, length, length / 2});
  }
  data::PlanOptions options;
  const double plan_s = SecondsOf([&] {
    options.tokens_per_pack = data::DefaultTokensPerPack(pieces, options.global_batch_size);
    data::StepPlan(pieces, options).Hash();
  });
  const data::StepPlan plan(pieces, options);
  const double epoch_s = SecondsOf([&] { plan.Summarize(); });
  const double seek_s = SecondsOf([&] {
    for (int64_t k = 0; k < 1000; ++k) plan.Step(MixKeys(3, k) % (int64_t{1} << 40));
  });
  std::printf(
      "%ld documents: planned in %.3f s, every step of an epoch looked at in %.3f s, "
      "any step in %.1f us\n",
      long{documents}, plan_s, epoch_s, seek_s * 1e3);
}

}  // namespace

absl::Status BenchPlan(const DataOptions& options, int64_t documents) {
  ASSIGN_OR_RETURN(const nn::ModelConfig model, nn::ReadModelConfig(options.model));
  ASSIGN_OR_RETURN(const Documents loaded, LoadDocuments(options, model, nullptr));
  ASSIGN_OR_RETURN(const data::Selection selection,
                   data::SelectPieces(*loaded.train, options.length));
  PrintTable(selection.pieces);
  TimePlanning(documents);
  return absl::OkStatus();
}

}  // namespace lockstep
