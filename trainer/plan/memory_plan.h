// How much memory a rank will need, before any weight is loaded: the same model runs forward and
// backward on a device that only counts allocations, over the worst pack that the run will see.
//
//   ASSIGN_OR_RETURN(const auto planner, MemoryPlanner::Create(options, data, num_steps));
//   ASSIGN_OR_RETURN(const MemoryPlan plan, planner->Choose(options, ranks, free));
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "dist/communicator.h"
#include "nn/model.h"
#include "nn/optim/adamw.h"
#include "tensor/allocator.h"
#include "tensor/context.h"
#include "tensor/parking.h"
#include "trainer/flags/options.h"
#include "trainer/plan/training_data.h"
#include "trainer/plan/worst_pack.h"
#include "trainer/step/data_parallel.h"

namespace lockstep {

// Bytes.
struct MemoryPlan {
  nn::ForwardOptions forward = {};  // what it is for; without the parking
  int64_t model = 0;                // weights, trainable parameters, gradients, moments
  int64_t activations = 0;  // at the worst moment of loading, training, evaluation and generation
  int64_t arena = 0;        // of one piece that holds both, gaps between blocks included
  int64_t host = 0;         // where a GPU's activations wait (--gradient_checkpointing=layer)
  int64_t libraries = 0;    // workspaces and kernels of a GPU's libraries
  // Rank 0's copy of values and moments: checkpoints are written from it. It is on the GPU where
  // there is room, else in host memory.
  int64_t host_copy = 0, device_copy = 0;
  int64_t num_trainable = 0;
  int64_t num_elements = 0;  // of the flat gradient buffer
  std::string buckets;       // the reduction's plan, for people

  // What the allocator's peak will be (rank 0's).
  int64_t allocated() const { return model + activations + device_copy; }
  // In one piece; the copy lies in front.
  int64_t reserved() const { return device_copy + arena; }
  // By each rank, where it computes.
  int64_t needed() const { return reserved() + libraries; }
};

// Bytes that are free.
struct FreeMemory {
  int64_t host = 0;    // in the memory that the machine's ranks share
  int64_t device = 0;  // on each rank's GPU, if it has one
};

class MemoryPlanner {
 public:
  // Errors: the model cannot be used (its config or its files' headers).
  static absl::StatusOr<std::unique_ptr<MemoryPlanner>> Create(const TrainOptions& options,
                                                               const TrainingData& data,
                                                               int64_t num_steps);

  // score_bytes: 0, 4, 8 or 16 GiB.
  MemoryPlan Plan(const nn::ForwardOptions& forward);

  // What --gradient_checkpointing says; for auto the fastest of which a machine's `ranks`, rank 0
  // among them, fit into what is free. What is left then goes to long documents' attention, also in
  // a mode that was given: to keep_attention, and to the largest score_bytes that still fit; with
  // `layer` only where rows are of documents of kKeepAttentionFrom rows on average. Error: the mode
  // does not fit, with the numbers.
  absl::StatusOr<MemoryPlan> Choose(const TrainOptions& options, int ranks,
                                    const FreeMemory& available);

  // The most tokens a pack may have, a multiple of 64; 0 if nothing fits.
  int64_t LargestTokensPerPack(nn::Checkpointing checkpointing, int ranks,
                               const FreeMemory& available);

 private:
  MemoryPlanner(DeviceType device, std::vector<int64_t> prompts);
  int64_t AttentionBytes(absl::Span<const int32_t> starts, const AttentionChoice& choice) const;
  nn::PackedTokens Pack(const PackSize& size, absl::Span<const int32_t> starts) const;
  void Train(const PackSize& size, nn::ForwardOptions forward);
  void Evaluate(const PackSize& size);
  void Generate();
  bool on_gpu() const { return device_ == DeviceType::kCUDA; }
  bool HasLongDocuments() const;
  absl::Status CheckFits(const MemoryPlan& plan, int ranks, const FreeMemory& available) const;
  absl::StatusOr<MemoryPlan> Fitted(const nn::ForwardOptions& forward, int ranks,
                                    const FreeMemory& available);
  MemoryPlan WithMoreScores(const MemoryPlan& least, int ranks, const FreeMemory& available);
  MemoryPlan PlanFor(const PackSize& size, nn::ForwardOptions forward);

  const DeviceType device_;
  const std::vector<int64_t> prompts_;  // of the samples before and after training: tokens
  MetaAllocator allocator_, host_allocator_;
  const Context context_{Stream{allocator_.device()}, &allocator_};
  Parking parking_{context_, context_.stream, &host_allocator_};
  std::unique_ptr<nn::Model> model_;
  // What training has beside it all the time.
  const std::unique_ptr<dist::Communicator> alone_ = dist::MakeSoloCommunicator();
  std::unique_ptr<DataParallel> parallel_;
  std::unique_ptr<nn::AdamW> optimizer_;
  MemoryPlan model_plan_;  // what does not depend on packs
  int64_t most_tokens_ = 0;
  PackSize training_, evaluation_;
};

// "none", "cheap", "layer".
const char* NameOf(nn::Checkpointing checkpointing);

std::vector<std::pair<std::string, std::string>> MemoryTable(const MemoryPlan& plan);

}  // namespace lockstep
