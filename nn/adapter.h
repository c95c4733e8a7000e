// PEFT adapters as folders: adapter_config.json and adapter_model.safetensors.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nn/flat_parameters.h"
#include "nn/lora.h"
#include "nn/modules.h"
#include "nn/weights.h"
#include "tensor/context.h"

namespace lockstep::nn {

// The options in `directory`/adapter_config.json. A key that switches something on that is not
// supported is an error; unknown keys that switch nothing on (a number or a text of a variant that
// is off) are named in `warnings`.
absl::StatusOr<LoraConfig> ReadAdapterConfig(const std::string& directory,
                                             std::vector<std::string>* warnings);

// The same from text; `where` names it in errors.
absl::StatusOr<LoraConfig> ParseAdapterConfig(const std::string& text, const std::string& where,
                                              std::vector<std::string>* warnings);

// Its text: the keys that every version of PEFT knows. `linear_modules` are the model's, to write
// "all-linear" as the names that it stands for.
std::string FormatAdapterConfig(const LoraConfig& config, const std::string& base_name,
                                const std::vector<std::string>& linear_modules);

// `directory`/adapter_model.safetensors has each parameter under its PEFT name, "base_model.model."
// + name. Missing, surplus and misshapen tensors are listed at once; only the file's header is
// read, before memory is asked for. Tables of the base model are passed over: CheckBaseTables.
// Adapters of modules with `foreign_prefixes` (ModelConfig) are left alone, with a warning.
absl::Status CheckAdapter(const std::string& directory, const std::vector<ParameterSpec>& specs,
                          const std::vector<std::string>& foreign_prefixes,
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
