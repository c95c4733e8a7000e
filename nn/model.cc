#include "nn/model.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/check.h"
#include "base/file.h"
#include "base/status.h"
#include "nn/adapter.h"
#include "nn/adapter_config.h"
#include "nn/assemble.h"
#include "nn/lora_init.h"
#include "nn/save_model.h"
#include "nn/weights.h"
#include "tensor/kernels/attention.h"
#include "tensor/kernels/fp8_gemm.h"
#include "tensor/runtime.h"

namespace lockstep::nn {
namespace {

// The same adapter for PEFT, to whom names like q_proj mean the vision tower's modules as well.
LoraConfig WithoutVision(LoraConfig lora) {
  constexpr absl::string_view kVision = R"(.*(?:vision_tower|multi_modal_projector)\..*)";
  ModuleSelector& exclude = lora.exclude_modules;
  if (exclude.regex && absl::StrContains(*exclude.regex, kVision)) return lora;
  if (!exclude.names.empty()) {
    exclude.regex = absl::StrCat(
        "(?:.*\\.)?(?:", absl::StrReplaceAll(absl::StrJoin(exclude.names, "|"), {{".", "\\."}}),
        ")");
    exclude.names.clear();
  }
  exclude.regex =
      absl::StrCat(exclude.regex ? absl::StrCat("(?:", *exclude.regex, ")|") : "", kVision);
  return lora;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> Model::Load(const Context& context,
                                                   const ModelOptions& options) {
  std::unique_ptr<Model> model(new Model(context, options));
  RETURN_IF_ERROR(model->Read());
  return model;
}

absl::Status Model::Read() {
  ASSIGN_OR_RETURN(config_, ReadModelConfig(options_.directory));
  warnings_ = config_.warnings;
  modules_ = ModulesOf(config_);
  RETURN_IF_ERROR(DecideTrainable());
  if (options_.fp8_linear) RETURN_IF_ERROR(CheckFp8());
  std::unique_ptr<WeightSource> own_source;
  if (options_.weights == nullptr) {
    ASSIGN_OR_RETURN(own_source, OpenSource());
  }
  const WeightSource& source = own_source != nullptr ? *own_source : *options_.weights;

  FlatParameters::Options flat;
  flat.dtype = AccumulateType(options_.compute_dtype);
  flat.image_dtype = options_.compute_dtype;
  flat.sum_dtype = options_.sum_dtype;
  flat.num_slots = options_.num_slots;
  flat.training = options_.training;
  parameters_ = std::make_unique<FlatParameters>(context_, trainable_.specs, flat);

  AssembleOptions assemble;
  assemble.compute_dtype = options_.compute_dtype;
  assemble.base_dtype = options_.base_dtype;
  assemble.fp8_linear = options_.fp8_linear;
  assemble.seed = options_.seed;
  ASSIGN_OR_RETURN(DecoderWeights weights, Assemble(context_, config_, modules_, trainable_, source,
                                                    *parameters_, assemble));
  const bool saved = !options_.adapter.empty();
  // A saved PiSSA adapter belongs to base weights without their principal part.
  if (lora_ && (!saved || lora_->init == LoraInit::kPissa)) {
    RETURN_IF_ERROR(
        InitializeLora(context_, *lora_, options_.seed, modules_, weights, *parameters_));
  }
  if (saved) RETURN_IF_ERROR(LoadAdapter(context_, options_.adapter, *parameters_));
  decoder_ = std::make_unique<Decoder>(config_, std::move(weights), options_.compute_dtype);
  WarnOfSlowAttention();
  return absl::OkStatus();
}

absl::Status CheckFp8Device(Device device) {
  if (kernels::HasFp8Gemm(device)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto runtime, Runtime::Open(device));
  return UserError("--base_dtype=fp8",
                   absl::StrCat("want a Hopper GPU (compute capability 9.0), whose products take a "
                                "scale a row; got GPU ",
                                device.index, ": ", runtime->Describe()),
                   "--base_dtype=bf16 needs none");
}

namespace {

absl::Status RefuseFp8(const std::string& what) {
  return UserError("--base_dtype=fp8", what, "--base_dtype=bf16 can do that");
}

}  // namespace

absl::Status CheckFp8Training(bool full, const std::optional<LoraConfig>& lora) {
  if (full) return RefuseFp8("want frozen linear layers, got all weights to be trained");
  if (lora && lora->use_dora) return RefuseFp8("want LoRA, got DoRA, which reads the weights");
  if (lora && lora->init == LoraInit::kPissa) {
    return RefuseFp8("want other first values, got PiSSA's, which change the weights");
  }
  return absl::OkStatus();
}

absl::Status Model::CheckFp8() const {
  RETURN_IF_ERROR(CheckFp8Device(context_.device()));
  RETURN_IF_ERROR(CheckFp8Training(options_.full, lora_));
  for (const LayerModules& layer : modules_.layers) {
    for (const MergedLinear* linear : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
      if (linear->in() % 16 == 0 && linear->out() % 16 == 0) continue;
      return RefuseFp8(absl::StrCat(linear->path, ": want sizes that are multiples of 16, got [",
                                    linear->out(), ", ", linear->in(), "]"));
    }
  }
  return absl::OkStatus();
}

void Model::WarnOfSlowAttention() {
  const kernels::AttentionShape shape = {.tokens_q = options_.largest_pack,
                                         .heads = config_.num_heads,
                                         .kv_heads = config_.num_kv_heads,
                                         .head_dim = config_.head_dim,
                                         .dtype = options_.compute_dtype};
  const absl::string_view why =
      kernels::WhyAttentionIsSlow(context_.device(), shape, {.softcap = config_.attention_softcap});
  if (why.empty()) return;
  warnings_.push_back(
      absl::StrCat("attention is computed by plain kernels, many times slower, as ", why));
}

absl::Status Model::DecideTrainable() {
  lora_ = options_.lora;
  if (!options_.adapter.empty()) {
    ASSIGN_OR_RETURN(LoraConfig saved, ReadAdapterConfig(options_.adapter, &warnings_));
    if (lora_) saved.loraplus_lr_ratio = lora_->loraplus_lr_ratio;
    lora_ = saved;
  }
  CHECK(!(options_.full && lora_)) << "full training has no adapter";
  if (options_.full) {
    trainable_ = AllTrainable(config_, modules_);
  } else if (lora_) {
    const std::string& adapter = options_.adapter;
    ASSIGN_OR_RETURN(trainable_, adapter.empty() ? TrainableOf(*lora_, config_, modules_)
                                                 : TrainableOfAdapter(adapter, *lora_, config_,
                                                                      modules_, &warnings_));
    ASSIGN_OR_RETURN(const std::vector<std::string> idle,
                     IdleNames(*lora_, AdapterPaths(modules_)));
    warnings_.insert(warnings_.end(), idle.begin(), idle.end());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<WeightSource>> Model::OpenSource() {
  if (options_.random_init) return std::make_unique<RandomWeights>(config_, options_.seed);
  ASSIGN_OR_RETURN(WeightFiles files, WeightFiles::Open(options_.directory, config_));
  RETURN_IF_ERROR(files.Check(WeightsOf(config_, modules_), config_, &warnings_));
  if (!options_.adapter.empty()) {
    RETURN_IF_ERROR(CheckBaseTables(options_.adapter, trainable_.specs, files, modules_));
  }
  return std::make_unique<FileWeights>(std::move(files));
}

absl::Status Model::Save(const std::string& directory, const std::string& base_name) const {
  parameters_->Await();
  RETURN_IF_ERROR(MakeDirectories(directory));
  if (options_.full) return SaveFull(directory);
  CHECK(lora_) << "nothing was trained";
  const LoraConfig lora = config_.nested_text ? WithoutVision(*lora_) : *lora_;
  const std::string text = FormatAdapterConfig(lora, base_name, LinearPaths(modules_));
  RETURN_IF_ERROR(WriteFileAtomically(JoinPath(directory, "adapter_config.json"), text));
  return SaveAdapter(context_, directory, *parameters_);
}

absl::Status Model::SaveFull(const std::string& directory) const {
  ASSIGN_OR_RETURN(const std::string config, ReadFile(JoinPath(options_.directory, "config.json")));
  std::unique_ptr<WeightFiles> base;
  if (!config_.foreign_prefixes.empty() && !options_.random_init) {
    ASSIGN_OR_RETURN(WeightFiles files, WeightFiles::Open(options_.directory, config_));
    base = std::make_unique<WeightFiles>(std::move(files));
  }
  RETURN_IF_ERROR(
      SaveParametersAsModel(context_, config_, modules_, *parameters_, base.get(), directory));
  return WriteFileAtomically(JoinPath(directory, "config.json"), config);
}

}  // namespace lockstep::nn
