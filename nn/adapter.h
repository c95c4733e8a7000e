// The tensors of a PEFT adapter's folder, adapter_model.safetensors; its options are in
// adapter_config.h.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nn/flat_parameters.h"
#include "nn/modules.h"
#include "nn/trainable.h"
#include "nn/weights.h"
#include "tensor/context.h"

namespace lockstep::nn {

// What the adapter in `directory` trains, whose options are `lora`: TrainableOf, and
// adapter_model.safetensors has each parameter under its PEFT name, "base_model.model." + name.
// Missing, surplus and misshapen tensors are listed at once; only the file's header is read, before
// memory is asked for. Tables of the base model are passed over: CheckBaseTables. Adapters of
// modules with foreign_prefixes (ModelConfig) are left alone, with a warning.
absl::StatusOr<Trainable> TrainableOfAdapter(const std::string& directory, const LoraConfig& lora,
                                             const ModelConfig& config, const ModelModules& modules,
                                             std::vector<std::string>* warnings);

// Fills the values of `parameters` from that file, which must have them all.
absl::Status LoadAdapter(const Context& context, const std::string& directory,
                         FlatParameters& parameters);

// Tables of the base model that lie in the adapter's file, as PEFT writes them beside an adapter of
// the embedding or the head: an error if one is neither `trained` nor `base`'s, rounded to its
// dtype.
absl::Status CheckBaseTables(const std::string& directory,
                             const std::vector<ParameterSpec>& trained, const WeightFiles& base,
                             const ModelModules& modules);

// Writes adapter_model.safetensors (F32; F64 for f64 values).
absl::Status SaveAdapter(const Context& context, const std::string& directory,
                         const FlatParameters& parameters);

}  // namespace lockstep::nn
