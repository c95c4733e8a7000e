#include "trainer/plan/memory_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "autograd/tape.h"
#include "base/number.h"
#include "base/status.h"
#include "dist/bucket_plan.h"
#include "nn/generate.h"
#include "nn/kv_cache.h"
#include "nn/packed_tokens.h"
#include "tensor/kernels/attention.h"
#include "trainer/plan/samples.h"
#include "trainer/step/device_pack.h"

namespace lockstep {
namespace {

using nn::Checkpointing;

// On a GPU, beside our own memory: workspaces of the libraries, kernels as they are loaded.
constexpr int64_t kLibraryBytes = int64_t{1} << 30;
constexpr int64_t kTokenUnit = 64;
constexpr int64_t kMostTokens = int64_t{1} << 19;  // of a pack, in the search for the largest

AttentionChoice ChoiceOf(const nn::ForwardOptions& forward) {
  return {forward.checkpointing == Checkpointing::kLayer, forward.score_bytes};
}

std::vector<int64_t> PromptLengths(const TrainingData& data) {
  std::vector<int64_t> lengths;
  for (const Prompt& prompt : ChoosePrompts(data)) {
    lengths.push_back(static_cast<int64_t>(prompt.ids.size()));
  }
  return lengths;
}

}  // namespace

MemoryPlanner::MemoryPlanner(DeviceType device, std::vector<int64_t> prompts)
    : device_(device), prompts_(std::move(prompts)) {}

absl::StatusOr<std::unique_ptr<MemoryPlanner>> MemoryPlanner::Create(const TrainOptions& options,
                                                                     const TrainingData& data,
                                                                     int64_t num_steps) {
  const DeviceType device = options.device == "cuda" ? DeviceType::kCUDA : DeviceType::kCPU;
  std::unique_ptr<MemoryPlanner> planner(new MemoryPlanner(device, PromptLengths(data)));
  const Context& context = planner->context_;
  nn::ModelOptions model_options = options.model;
  model_options.num_slots = dist::kNumStepSlots;
  ASSIGN_OR_RETURN(planner->model_, nn::Model::Load(context, model_options));
  nn::FlatParameters& parameters = planner->model_->parameters();
  planner->parallel_ = std::make_unique<DataParallel>(context, &parameters, planner->alone_.get(),
                                                      options.reduction);
  planner->optimizer_ =
      std::make_unique<nn::AdamW>(context, parameters, nn::AdamWOptions(), dist::kOverflowSlot);
  MemoryPlan& plan = planner->model_plan_;
  plan.model = planner->allocator_.bytes_in_use();
  plan.activations = planner->allocator_.peak_bytes() - plan.model;  // so far: of loading
  plan.arena = planner->allocator_.highest();
  plan.num_trainable = parameters.num_trainable();
  plan.num_elements = parameters.numel();
  plan.buckets = dist::Describe(planner->parallel_->plan(), planner->parallel_->element_bytes());
  plan.libraries = device == DeviceType::kCUDA ? kLibraryBytes : 0;
  plan.host_copy =
      3 * parameters.numel() * static_cast<int64_t>(SizeOf(parameters.values().dtype()));
  planner->most_tokens_ = data.plan_options.tokens_per_pack;
  const auto attention_bytes = [&](absl::Span<const int32_t> starts,
                                   const AttentionChoice& choice) {
    return planner->AttentionBytes(starts, choice);
  };
  planner->training_ = WorstOfSteps(data, num_steps, attention_bytes);
  planner->evaluation_ = WorstPack(data.validation.pieces, data.evaluation, attention_bytes);
  return planner;
}

int64_t MemoryPlanner::AttentionBytes(absl::Span<const int32_t> starts,
                                      const AttentionChoice& choice) const {
  const nn::ModelConfig& config = model_->config();
  kernels::PackedDocuments documents;
  documents.size = static_cast<int64_t>(starts.size()) - 1;
  documents.starts_q = documents.starts_k = starts.data();
  nn::ForwardOptions forward;
  if (choice.layer) forward.checkpointing = Checkpointing::kLayer;
  forward.score_bytes = choice.score_bytes;
  return kernels::AttentionWorkspace(context_.device(),
                                     {most_tokens_, config.num_heads, config.num_kv_heads,
                                      config.head_dim, model_->decoder().compute_dtype()},
                                     documents, nn::AttentionOf(config, /*index=*/0, forward))
      .backward;
}

// `starts` decide about attention's workspace; of documents there may be more.
nn::PackedTokens MemoryPlanner::Pack(const PackSize& size, absl::Span<const int32_t> starts) const {
  const auto tensor = [&](DType dtype, int64_t numel) {
    return Tensor::Empty(*context_.allocator, dtype, {numel});
  };
  const int64_t rows = nn::PaddedRows(size.tokens, RowMultiple(device_));
  nn::PackedTokens pack;
  pack.host_cu_seqlens.assign(starts.begin(), starts.end());
  pack.input_ids = tensor(DType::kI32, rows);
  pack.positions = tensor(DType::kI32, rows);
  pack.token_keys = tensor(DType::kI64, rows);
  pack.cu_seqlens =
      tensor(DType::kI32, std::max(size.documents + 1, static_cast<int64_t>(starts.size())));
  pack.target_rows = tensor(DType::kI32, size.supervised);
  pack.targets = tensor(DType::kI32, size.supervised);
  return pack;
}

void MemoryPlanner::Train(const PackSize& size, nn::ForwardOptions forward) {
  const nn::PackedTokens pack = Pack(size, size.worst.at(ChoiceOf(forward)).starts);
  autograd::Tape tape(context_);
  forward.parking = on_gpu() ? &parking_ : nullptr;
  const nn::Decoder& decoder = model_->decoder();
  const auto nll = decoder.NllSum(tape, decoder.Hidden(tape, pack, forward), pack, 1.0, forward);
  parallel_->BeginStep(/*packs_in_step=*/1);
  parallel_->Backward(tape, nll, /*last=*/true);
  parallel_->FinishStep(/*stop_requested=*/false);
}

void MemoryPlanner::Evaluate(const PackSize& size) {
  if (size.tokens == 0) return;
  const nn::PackedTokens pack = Pack(size, size.worst.at({}).starts);
  autograd::Tape tape(context_, autograd::Tape::Mode::kForward);
  model_->decoder().NllSum(tape, model_->decoder().Hidden(tape, pack), pack, 1.0);
}

void MemoryPlanner::Generate() {
  if (prompts_.empty()) return;
  const std::vector<int32_t> starts = StartsOfDocuments(prompts_);
  const nn::PackedTokens prompts = Pack({.tokens = starts.back()}, starts);
  std::vector<nn::KvCache> caches;
  for (const int64_t length : prompts_) {
    caches.emplace_back(context_, model_->config(), model_->decoder().compute_dtype(),
                        length + kMaxSampleTokens);
  }
  autograd::Tape tape(context_, autograd::Tape::Mode::kForward);
  nn::ForwardOptions forward;
  for (nn::KvCache& cache : caches) forward.caches.push_back(&cache);
  const auto hidden = model_->decoder().Hidden(tape, prompts, forward);
  model_->decoder().Logits(
      tape, hidden, Tensor::Empty(*context_.allocator, DType::kI32, {prompts.num_documents()}));
}

MemoryPlan MemoryPlanner::PlanFor(const PackSize& size, nn::ForwardOptions forward) {
  forward.lora_dropout = model_->lora() ? model_->lora()->dropout : 0;
  allocator_.ResetPeak();
  allocator_.ResetHighest();
  host_allocator_.ResetHighest();
  Train(size, forward);
  Evaluate(evaluation_);
  Generate();
  MemoryPlan plan = model_plan_;
  plan.forward = forward;
  plan.activations = std::max(plan.activations, allocator_.peak_bytes() - plan.model);
  plan.arena = std::max(plan.arena, allocator_.highest());
  plan.host = host_allocator_.highest();
  return plan;
}

MemoryPlan MemoryPlanner::Plan(const nn::ForwardOptions& forward) {
  return PlanFor(training_, forward);
}

bool MemoryPlanner::HasLongDocuments() const {
  return training_.squares >= nn::kKeepAttentionFrom * std::max<int64_t>(1, training_.all_tokens);
}

absl::Status MemoryPlanner::CheckFits(const MemoryPlan& plan, int ranks,
                                      const FreeMemory& available) const {
  const auto bytes = [](int64_t n) { return HumanBytes(static_cast<double>(n)); };
  const std::string mode =
      absl::StrCat("--gradient_checkpointing=", NameOf(plan.forward.checkpointing));
  const std::string parts = absl::StrCat(bytes(plan.model), " for model and optimizer, ",
                                         bytes(plan.activations), " for activations with ", mode);
  constexpr char kTakeLess[] =
      "--gradient_checkpointing=layer, a smaller --max_seq_length, or --tokens_per_pack, take "
      "less; --dry_run says how many tokens fit";
  if (on_gpu() && plan.needed() > available.device) {
    return UserError("memory",
                     absl::StrCat("want ", bytes(plan.needed()), " on each GPU (", parts, "), got ",
                                  bytes(available.device)),
                     kTakeLess);
  }
  const int64_t host = ranks * (on_gpu() ? plan.host : plan.needed()) + plan.host_copy;
  if (host <= available.host) return absl::OkStatus();
  return UserError(
      "memory",
      absl::StrCat(
          "want ", bytes(host), on_gpu() ? " of host memory" : "", " for ", ranks,
          ranks == 1 ? " rank (" : " ranks (",
          on_gpu() ? absl::StrCat(bytes(plan.host), " for activations that wait there with ", mode)
                   : parts,
          ", each; ", bytes(plan.host_copy),
          " for the copy that checkpoints are written from), got ", bytes(available.host)),
      on_gpu() ? "a smaller --tokens_per_pack, or --max_seq_length, takes less; cheap lets no "
                 "activations wait"
               : kTakeLess);
}

absl::StatusOr<MemoryPlan> MemoryPlanner::Fitted(const nn::ForwardOptions& forward, int ranks,
                                                 const FreeMemory& available) {
  MemoryPlan plan = Plan(forward);
  MemoryPlan with_copy = plan;
  std::swap(with_copy.device_copy, with_copy.host_copy);
  if (on_gpu() && CheckFits(with_copy, ranks, available).ok()) return with_copy;
  RETURN_IF_ERROR(CheckFits(plan, ranks, available));
  return plan;
}

absl::StatusOr<MemoryPlan> MemoryPlanner::Choose(const TrainOptions& options, int ranks,
                                                 const FreeMemory& available) {
  std::vector<Checkpointing> modes = {options.gradient_checkpointing};
  if (options.auto_checkpointing) {
    modes = {Checkpointing::kNone, Checkpointing::kCheap, Checkpointing::kLayer};
  }
  absl::StatusOr<MemoryPlan> plan;
  for (const Checkpointing mode : modes) {
    const bool may_keep = mode == Checkpointing::kLayer && on_gpu() && HasLongDocuments();
    for (const bool keep_attention : {true, false}) {
      if (keep_attention && !may_keep) continue;
      plan = Fitted({.checkpointing = mode, .keep_attention = keep_attention}, ranks, available);
      if (plan.ok()) return WithMoreScores(*plan, ranks, available);
    }
  }
  return plan;
}

MemoryPlan MemoryPlanner::WithMoreScores(const MemoryPlan& least, int ranks,
                                         const FreeMemory& available) {
  const bool layer = least.forward.checkpointing == Checkpointing::kLayer;
  MemoryPlan most = least;
  if (!on_gpu() || (layer && !HasLongDocuments())) return most;
  nn::ForwardOptions more = least.forward;
  for (const int64_t score_bytes : kScoreBytes) {
    more.score_bytes = score_bytes;
    const int64_t wanted = training_.worst.at(ChoiceOf(more)).bytes;
    if (wanted == training_.worst.at(ChoiceOf(most.forward)).bytes) continue;
    const absl::StatusOr<MemoryPlan> plan = Fitted(more, ranks, available);
    if (plan.ok()) most = *plan;
  }
  return most;
}

int64_t MemoryPlanner::LargestTokensPerPack(Checkpointing checkpointing, int ranks,
                                            const FreeMemory& available) {
  int64_t fits = 0, too_many = kMostTokens / kTokenUnit + 1;  // in units
  while (too_many - fits > 1) {
    const int64_t middle = (fits + too_many) / 2;
    const PackSize size = Scaled(training_, middle * kTokenUnit);
    const bool fit =
        CheckFits(PlanFor(size, {.checkpointing = checkpointing}), ranks, available).ok();
    (fit ? fits : too_many) = middle;
  }
  return fits * kTokenUnit;
}

const char* NameOf(Checkpointing checkpointing) {
  switch (checkpointing) {
    case Checkpointing::kNone:
      return "none";
    case Checkpointing::kCheap:
      return "cheap";
    case Checkpointing::kLayer:
      return "layer";
  }
  return "";
}

std::vector<std::pair<std::string, std::string>> MemoryTable(const MemoryPlan& plan) {
  const auto bytes = [](int64_t n) { return HumanBytes(static_cast<double>(n)); };
  std::vector<std::pair<std::string, std::string>> rows = {
      {"trainable parameters", HumanCount(static_cast<double>(plan.num_trainable))},
      {"gradient checkpointing",
       absl::StrCat(NameOf(plan.forward.checkpointing),
                    plan.forward.keep_attention ? ", attention kept" : "")},
      {"model, gradients, moments", bytes(plan.model)},
      {"activations at most", bytes(plan.activations)},
      {"libraries, gaps", bytes(plan.needed() - plan.allocated())},
      {"in all, for each rank", bytes(plan.needed())},
      {"a copy, once, for saving",
       absl::StrCat(bytes(plan.host_copy + plan.device_copy),
                    plan.device_copy > 0 ? ", on the GPU" : ", in host memory")}};
  if (plan.forward.score_bytes > 0) {
    rows.push_back({"attention's scores, up to", bytes(plan.forward.score_bytes)});
  }
  if (plan.host > 0) rows.push_back({"activations in host memory", bytes(plan.host)});
  return rows;
}

}  // namespace lockstep
