// A model folder, made ready: config, weights, adapter, decoder, and the flat trainable parameters.
//
//   ASSIGN_OR_RETURN(auto model, Model::Load(context, {.directory = dir, .lora = LoraConfig{}}));
//   Tape tape(context);
//   Variable hidden = model->decoder().Hidden(tape, pack);
//   HeadNllResult nll = model->decoder().NllSum(tape, hidden, pack, 1.0 / supervised_of_step);
//   tape.Backward({nll.loss}, {ones}, [&](const Variable& leaf) { … });
//
// On a meta context the same call reads the config, checks the files' headers and allocates, but
// reads no weight: the memory plan.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nn/config.h"
#include "nn/decoder.h"
#include "nn/flat_parameters.h"
#include "nn/lora.h"
#include "nn/modules.h"
#include "nn/trainable.h"
#include "nn/weight_source.h"
#include "tensor/context.h"

namespace lockstep::nn {

struct ModelOptions {
  std::string directory = {};  // Hugging Face layout

  // What is trained. Neither `lora` nor `adapter` nor `full`: nothing, for evaluation.
  std::optional<LoraConfig> lora = std::nullopt;  // a new adapter
  // Or a PEFT adapter's folder: its config and its values, and of `lora` only the ratio of LoRA+.
  std::string adapter = {};
  bool full = false;     // or every weight
  bool training = true;  // false: no gradients, no moments

  bool random_init = false;  // weights from the seed instead of files: config.json suffices
  const WeightSource* weights = nullptr;  // or from here; outlives Load
  uint64_t seed = 42;

  DType compute_dtype = DType::kF32;  // of activations and products: f32, f64, bf16
  DType base_dtype = DType::kF32;     // how frozen weights are stored: f32, f64, bf16
  bool fp8_linear = false;            // but linear layers in FP8, which base_dtype is rounded to
  DType sum_dtype = DType::kI64;      // gradient sums, see FlatParameters
  int num_slots = 0;

  int64_t largest_pack = 1;  // tokens; where that makes attention slow, warnings() say so
};

// Whether a device computes with linear layers in FP8: CPUs and Hopper GPUs do. Load asks, too.
absl::Status CheckFp8Device(Device device);
// Whether such layers can be trained so: the weights must stay as they are, and unread.
absl::Status CheckFp8Training(bool full, const std::optional<LoraConfig>& lora);

class Model {
 public:
  // Errors name file and tensor, all at once: missing, surplus and misshapen tensors before a byte
  // of data is read.
  static absl::StatusOr<std::unique_ptr<Model>> Load(const Context& context,
                                                     const ModelOptions& options);

  const ModelConfig& config() const { return config_; }
  const Decoder& decoder() const { return *decoder_; }
  FlatParameters& parameters() { return *parameters_; }
  const FlatParameters& parameters() const { return *parameters_; }
  // The adapter's options: of ModelOptions::lora or of the adapter's folder.
  const std::optional<LoraConfig>& lora() const { return lora_; }
  // What Load has to say about tensors or config keys that it left alone, and about what will be
  // slow; one line each.
  const std::vector<std::string>& warnings() const { return warnings_; }

  // The trained values as they are loaded elsewhere: a PEFT adapter (adapter_config.json,
  // adapter_model.safetensors), or after full training a Hugging Face folder's config.json and
  // model*.safetensors. Each file is written whole or not at all. `base_name` is what the adapter
  // calls its base model.
  absl::Status Save(const std::string& directory, const std::string& base_name) const;

 private:
  Model(const Context& context, const ModelOptions& options)
      : context_(context), options_(options) {}
  absl::Status Read();
  absl::Status CheckFp8() const;
  void WarnOfSlowAttention();
  absl::Status DecideTrainable();
  absl::StatusOr<std::unique_ptr<WeightSource>> OpenSource();
  absl::Status SaveFull(const std::string& directory) const;

  Context context_;
  ModelOptions options_;
  ModelConfig config_;
  ModelModules modules_;
  Trainable trainable_;
  std::optional<LoraConfig> lora_;
  std::unique_ptr<FlatParameters> parameters_;
  std::unique_ptr<Decoder> decoder_;
  std::vector<std::string> warnings_;
};

}  // namespace lockstep::nn
