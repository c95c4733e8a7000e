// Everything that steps would stop for at a first use, made ready before step one: attention's
// plans, kernels that the driver loads when they are first launched, the choice of products'
// kernels by size, connections between ranks.
//
//   Rehearsal rehearsal(device, {config, dtype, forward}, data, steps);      // in the background
//   ASSIGN_OR_RETURN(const auto model, nn::Model::Load(…));
//   log.Say(rehearsal.Run(context, forward, reduction, &communicator, model.get()));
//
// Nothing of it is left but time: a step begins with gradient sums of zero. On a CPU there is
// nothing to make ready.
#pragma once

#include <atomic>
#include <cstdint>
#include <future>
#include <string>
#include <vector>

#include "data/pack.h"
#include "data/step_plan.h"
#include "dist/communicator.h"
#include "nn/config.h"
#include "nn/decoder.h"
#include "nn/model.h"
#include "tensor/context.h"
#include "trainer/plan/training_data.h"
#include "trainer/step/data_parallel.h"

namespace lockstep {

// Steps [first, end) for one of `size` ranks.
struct RankSteps {
  int64_t first, end;
  int rank, size;
};

// A pack of the step plan.
struct PlannedPack {
  int64_t epoch;
  data::PackPlan plan;
};

// What this rank has in these steps, in order; of a long run, in the first 2,000.
std::vector<PlannedPack> PacksOf(const data::StepPlan& plan, const RankSteps& steps);

// Packs that stand for all others: those that are `new_kind`, and one for each other number of
// rows, a multiple of `row_multiple`. At most 16 of either: the first ones, and evenly spaced ones.
std::vector<PlannedPack> OneOfEachKind(const std::vector<PlannedPack>& packs,
                                       const std::vector<bool>& new_kind, int64_t row_multiple);

class Rehearsal {
 public:
  // What decides which plans attention needs.
  struct Attention {
    const nn::ModelConfig& config;
    DType dtype;
    nn::ForwardOptions forward;
  };

  // Begins, in threads of its own, to make the plans of these packs and of the evaluation's.
  // `config` and `data` outlive this.
  Rehearsal(Device device, const Attention& attention, const TrainingData& data,
            const RankSteps& steps);
  ~Rehearsal();  // what is not made by then is not needed any more

  // Waits for the plans of the first packs; those of later ones are made while training goes on.
  // Then takes a pack of every kind, forward and backward, through one layer of each kind of
  // `model` and the head; the ranks add up what comes of it, and give each other the parameters,
  // which are still equal. All ranks call it. Returns what was made ready, for people; "" on a CPU.
  std::string Run(const Context& context, const nn::ForwardOptions& forward,
                  const ReductionOptions& reduction, dist::Communicator* communicator,
                  nn::Model* model);

 private:
  struct Ready {
    int64_t plans = 0;
    double seconds = 0;
    std::vector<data::Pack> packs;
  };
  Ready Prepare(Device device, const Attention& attention, const TrainingData& data,
                const RankSteps& steps);

  std::atomic<bool> stop_ = false;
  // Their destructors wait. Invalid: nothing to do.
  std::future<void> later_;
  std::future<Ready> ready_;
};

}  // namespace lockstep
