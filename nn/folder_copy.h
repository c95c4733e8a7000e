// The files of a Hugging Face folder beside its weights, for a folder with weights made from them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tensor/dtype.h"

namespace lockstep::nn {

// Tokenizer, templates, generation_config.json, licenses: byte for byte, all but weights and
// config.json. Adds their names to `files`.
absl::Status CopyOtherFiles(const std::string& from, const std::string& to,
                            std::vector<std::string>* files);

// What is another in the new folder's config.json.
struct ConfigChange {
  bool untied = false;         // the head has a matrix of its own
  std::optional<DType> dtype;  // of the weights: f32, bf16, f16
};
// config.json, byte for byte where nothing is.
absl::Status CopyConfig(const std::string& from, const std::string& to, const ConfigChange& change);

}  // namespace lockstep::nn
