#include "tools/benchmarks/scaling.h"

#include <algorithm>
#include <cstdio>
#include <deque>
#include <memory>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "data/loader.h"
#include "nn/optim/adamw.h"
#include "tensor/runtime.h"
#include "tools/benchmarks/ranks.h"
#include "tools/benchmarks/shapes.h"
#include "trainer/step/data_parallel.h"
#include "trainer/step/step_gradient.h"
#include "trainer/step/step_times.h"

namespace lockstep {
namespace {

// One rank's packs of a step: random tokens, every token but a document's first is supervised.
data::RankStep RandomStep(const PackShape& shape, int packs, int ranks, uint32_t vocab, int rank) {
  std::mt19937 bits(static_cast<unsigned>(rank));
  data::RankStep step;
  for (int p = 0; p < packs; ++p) {
    data::Pack& pack = step.packs.emplace_back();
    for (int64_t d = 0; d < shape.documents; ++d) {
      pack.cu_seqlens.push_back(static_cast<int32_t>(d * shape.length));
      for (int64_t i = 0; i < shape.length; ++i) {
        if (i > 0) pack.target_rows.push_back(static_cast<int32_t>(pack.input_ids.size()) - 1);
        pack.input_ids.push_back(static_cast<int32_t>(bits() % vocab));
        if (i > 0) pack.targets.push_back(pack.input_ids.back());
        pack.positions.push_back(static_cast<int32_t>(i));
        pack.token_keys.push_back(static_cast<int64_t>(bits()));
      }
      pack.documents.push_back(d);
    }
    pack.cu_seqlens.push_back(static_cast<int32_t>(shape.documents * shape.length));
  }
  step.num_packs = int64_t{packs} * ranks;
  step.num_tokens = step.num_packs * shape.documents * shape.length;
  step.num_supervised = step.num_packs * shape.documents * (shape.length - 1);
  return step;
}

// What is compared: a bucket size, or the rank alone.
struct Case {
  std::string name;
  std::unique_ptr<DataParallel> parallel;
  std::vector<StepTimes::Average> rounds;
};

double SlowestOf(const StepTimes::Average& round) {
  return *std::max_element(round.own_ms.begin(), round.own_ms.end());
}

StepTimes::Average MeanOf(const std::vector<StepTimes::Average>& rounds) {
  StepTimes::Average mean;
  mean.own_ms.resize(rounds[0].own_ms.size());
  const auto n = static_cast<double>(rounds.size());
  for (const StepTimes::Average& round : rounds) {
    mean.step_ms += round.step_ms / n;
    mean.exposed_ms += round.exposed_ms / n;
    mean.late_ms += round.late_ms / n;
    for (size_t r = 0; r < mean.own_ms.size(); ++r) mean.own_ms[r] += round.own_ms[r] / n;
  }
  return mean;
}

class Bench {
 public:
  Bench(const ScalingOptions& options, const Context& context, dist::World& world, nn::Model* model,
        const PackShape& pack)
      : options_(options),
        context_(context),
        world_(world),
        model_(model),
        work_(RandomStep(pack, options.packs_per_rank, world.size(),
                         static_cast<uint32_t>(model->config().vocab_size), world.rank())),
        optimizer_(context, model->parameters(), {}, dist::kOverflowSlot) {
    forward_.checkpointing = options.steps.checkpointing;
    forward_.score_bytes = options.steps.score_bytes;
    forward_.lora_dropout = options.steps.lora_dropout;
  }

  void Run(GradientSum sum, const std::string& name) {
    const auto solo = dist::MakeSoloCommunicator();
    std::vector<Case> cases;
    const auto add = [&](std::string case_name, dist::Communicator* communicator, double cap) {
      cases.push_back({std::move(case_name),
                       std::make_unique<DataParallel>(context_, &model_->parameters(), communicator,
                                                      ReductionOptions{sum, cap, options_.full}),
                       {}});
    };
    add("alone", solo.get(), options_.bucket_caps_mb[0]);
    for (const double cap : options_.bucket_caps_mb) {
      add(absl::StrCat(cap, " MiB"), &world_.communicator(), cap);
    }
    for (int round = 0; round < options_.rounds; ++round) {
      for (Case& c : cases) Round(&c);
    }
    if (world_.rank() == 0) Print(name, cases);
  }

 private:
  struct Queued {
    std::unique_ptr<Event> start, end;
  };

  Queued Step(DataParallel* parallel) {
    Queued step{Event::Create(context_.device()), Event::Create(context_.device())};
    step.start->Record(context_.stream);
    StepGradient(context_, model_->decoder(), work_, forward_, /*stop_requested=*/false, parallel,
                 [&](const char* phase, int64_t pack) {
                   world_.heartbeat().Report({phase, steps_, pack});
                 });
    parallel->Update(&optimizer_, ++steps_, /*learning_rate=*/1e-5);
    step.end->Record(context_.stream);
    return step;
  }

  // Some steps, each queued while the device works on the one before; the first is not counted.
  void Round(Case* c) {
    dist::Communicator& communicator = world_.communicator();
    communicator.Wait(communicator.Barrier(Stream(), "bench"), Stream());
    const int in_flight = context_.device().type == DeviceType::kCUDA ? 1 : 0;
    std::deque<Queued> queued;
    double waited = communicator.waited_ms();
    StepTimes times(&communicator, /*warm_up=*/0);
    for (int s = 0; s <= options_.steps.steps + in_flight; ++s) {
      if (s <= options_.steps.steps) queued.push_back(Step(c->parallel.get()));
      if (s < in_flight) continue;
      queued.front().end->Wait();
      const double now = communicator.waited_ms();
      const double ms = 1e3 * queued.front().end->SecondsSince(*queued.front().start);
      queued.pop_front();
      if (s > in_flight) times.Add({steps_, ms, now - waited, 0, 0});
      waited = communicator.waited_ms();
    }
    times.Flush();
    c->rounds.push_back(times.average());
  }

  void Print(const std::string& sum, const std::vector<Case>& cases) const {
    const double tokens =
        static_cast<double>(work_.num_tokens) / static_cast<double>(world_.size());
    const Case& alone = cases.front();
    for (const Case& c : cases) {
      const StepTimes::Average a = MeanOf(c.rounds);
      const auto [least, most] = std::minmax_element(a.own_ms.begin(), a.own_ms.end());
      const double step_ms = &c == &alone ? *most : a.step_ms;
      std::vector<double> shares;  // of the slowest rank alone in the same round
      for (size_t r = 0; r < c.rounds.size(); ++r) {
        const StepTimes::Average& round = c.rounds[r];
        shares.push_back(100 * SlowestOf(alone.rounds[r]) /
                         (&c == &alone ? SlowestOf(round) : round.step_ms));
      }
      const auto [lowest, highest] = std::minmax_element(shares.begin(), shares.end());
      absl::PrintF(
          "%-5s %9s  step %9.2f ms  not hidden %7.3f  late %7.3f  own work %9.2f (rank %d) to "
          "%9.2f (rank %d)  %9.0f tokens/s a rank  %6.2f %% [%.2f, %.2f]\n",
          sum, c.name, step_ms, a.exposed_ms, a.late_ms, *least,
          static_cast<int>(least - a.own_ms.begin()), *most,
          static_cast<int>(most - a.own_ms.begin()), 1e3 * tokens / step_ms,
          100 * SlowestOf(MeanOf(alone.rounds)) / step_ms, *lowest, *highest);
    }
    std::fflush(stdout);
  }

  const ScalingOptions& options_;
  const Context context_;
  dist::World& world_;
  nn::Model* const model_;
  const data::RankStep work_;
  nn::AdamW optimizer_;
  nn::ForwardOptions forward_;
  int64_t steps_ = 0;
};

absl::StatusOr<GradientSum> SumNamed(const std::string& name) {
  if (name == "exact") return GradientSum::kExact;
  if (name == "fp32") return GradientSum::kFp32;
  if (name == "bf16") return GradientSum::kBf16;
  return UserError("--gradient_sum", absl::StrCat("want exact, fp32 or bf16, got \"", name, "\""));
}

absl::StatusOr<std::unique_ptr<nn::Model>> MakeModel(const ScalingOptions& options,
                                                     const Context& context, GradientSum sum) {
  nn::ModelOptions model = ModelOf(options.steps);
  model.full = options.full;
  if (options.full) model.lora.reset();
  model.num_slots = dist::kNumStepSlots;
  model.sum_dtype = SumDtype(sum);
  return RandomModel(context, options.steps.config_json, model);
}

absl::Status RunRank(const ScalingOptions& options, const Context& context, dist::World& world) {
  for (const std::string& text : options.steps.packs) {
    ASSIGN_OR_RETURN(const PackShape pack, ParsePack(text));
    if (world.rank() == 0) {
      absl::PrintF("%s %s, %s, a step is %d packs of %s on each rank\n", options.steps.name,
                   TypeOf(options.steps), options.full ? "full" : "LoRA", options.packs_per_rank,
                   text);
    }
    for (const std::string& name : options.gradient_sums) {
      ASSIGN_OR_RETURN(const GradientSum sum, SumNamed(name));
      world.heartbeat().Report({"load"});
      ASSIGN_OR_RETURN(const auto model, MakeModel(options, context, sum));
      Bench(options, context, world, model.get(), pack).Run(sum, name);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchScaling(const ScalingOptions& options,
                          const std::vector<std::string>& command_line) {
  for (const std::string& name : options.gradient_sums) RETURN_IF_ERROR(SumNamed(name).status());
  return RunOnRanks(
      {options.steps.device.type, options.nproc_per_node}, command_line,
      [&](const Context& context, dist::World& world) { return RunRank(options, context, world); });
}

}  // namespace lockstep
