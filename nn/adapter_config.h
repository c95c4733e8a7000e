// adapter_config.json: a LoraConfig as PEFT writes and reads it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nn/lora.h"

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

}  // namespace lockstep::nn
