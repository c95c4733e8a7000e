#include "trainer/memory_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "autograd/tape.h"
#include "base/status.h"
#include "dist/bucket_plan.h"
#include "nn/model.h"
#include "nn/packed_tokens.h"
#include "tensor/allocator.h"
#include "trainer/data_parallel.h"
#include "trainer/evaluate.h"
#include "trainer/number.h"

namespace lockstep {
namespace {

// The pack of the most tokens, the most targets and the longest documents of any step.
nn::PackedTokens WorstPack(const Context& context, const TrainingData& data, int64_t multiple) {
  const data::StepPlan::Summary summary = data.plan->Summarize();
  int64_t longest = 1;
  for (const data::Piece& piece : data.train.pieces) {
    longest = std::max<int64_t>(longest, piece.length());
  }
  const auto tensor = [&](DType dtype, int64_t size) {
    return Tensor::Empty(*context.allocator, dtype, {size});
  };
  nn::PackedTokens pack;
  for (int64_t at = 0; at < summary.max_pack_tokens; at += longest) {
    pack.host_cu_seqlens.push_back(static_cast<int32_t>(at));
  }
  pack.host_cu_seqlens.push_back(static_cast<int32_t>(summary.max_pack_tokens));
  const int64_t rows = (summary.max_pack_tokens + multiple - 1) / multiple * multiple;
  pack.input_ids = tensor(DType::kI32, rows);
  pack.positions = tensor(DType::kI32, rows);
  pack.token_keys = tensor(DType::kI64, rows);
  pack.cu_seqlens = tensor(DType::kI32, static_cast<int64_t>(pack.host_cu_seqlens.size()));
  pack.target_rows = tensor(DType::kI32, summary.max_pack_supervised);
  pack.targets = tensor(DType::kI32, summary.max_pack_supervised);
  return pack;
}

}  // namespace

absl::StatusOr<MemoryPlan> PlanMemory(const TrainOptions& options, const TrainingData& data) {
  MetaAllocator allocator;
  const Context context{Stream{allocator.device()}, &allocator};
  nn::ModelOptions model_options = options.model;
  model_options.num_slots = dist::kNumStepSlots;
  ASSIGN_OR_RETURN(const auto model, nn::Model::Load(context, model_options));
  const auto alone = dist::MakeSoloCommunicator();
  const DataParallel parallel(context, &model->parameters(), alone.get(), options.reduction);
  MemoryPlan plan;
  plan.model = allocator.bytes_in_use();
  allocator.ResetPeak();
  plan.num_trainable = model->parameters().num_trainable();
  plan.num_elements = model->parameters().numel();
  plan.buckets = dist::Describe(parallel.plan(), parallel.element_bytes());

  const DeviceType device = options.device == "cuda" ? DeviceType::kCUDA : DeviceType::kCPU;
  const nn::PackedTokens pack = WorstPack(context, data, RowMultiple(device));
  autograd::Tape tape(context);
  nn::ForwardOptions forward;
  forward.checkpointing = options.gradient_checkpointing;
  forward.dropout = true;
  const auto hidden = model->decoder().Hidden(tape, pack, forward);
  const auto nll = model->decoder().NllSum(tape, hidden, pack, 1.0, forward);
  const Tensor seed = Tensor::Empty(allocator, DType::kF64, {1});
  tape.Backward({nll.loss}, {seed}, [](const autograd::Variable&) {});
  plan.activations = allocator.peak_bytes() - plan.model;
  if (device == DeviceType::kCPU) {
    const DType dtype = model->parameters().values().dtype();
    plan.model += 3 * plan.num_elements * static_cast<int64_t>(SizeOf(dtype));
  }
  return plan;
}

absl::Status CheckFits(const MemoryPlan& plan, int ranks, int64_t available) {
  const int64_t needed = plan.peak() * ranks;
  if (needed <= available) return absl::OkStatus();
  return UserError(
      "memory",
      absl::StrCat("want ", HumanBytes(static_cast<double>(needed)), " for ", ranks,
                   ranks == 1 ? " rank (" : " ranks (", HumanBytes(static_cast<double>(plan.model)),
                   " for model and optimizer, ", HumanBytes(static_cast<double>(plan.activations)),
                   " for activations, each), got ", HumanBytes(static_cast<double>(available))),
      "--gradient_checkpointing=layer, a smaller --max_seq_length, or --tokens_per_pack, take "
      "less");
}

std::vector<std::pair<std::string, std::string>> MemoryTable(const MemoryPlan& plan) {
  const auto bytes = [](int64_t n) { return HumanBytes(static_cast<double>(n)); };
  return {{"trainable parameters", HumanCount(static_cast<double>(plan.num_trainable))},
          {"model, gradients, moments", bytes(plan.model)},
          {"activations at most", bytes(plan.activations)},
          {"in all, for each rank", bytes(plan.peak())}};
}

}  // namespace lockstep
