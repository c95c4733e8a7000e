// A fully trained model as a Hugging Face folder's model.safetensors.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "nn/flat_parameters.h"
#include "nn/modules.h"
#include "tensor/context.h"

namespace lockstep::nn {

// Writes every parameter under its Hugging Face name, merged matrices cut into their parts, in the
// dtype that config.json names (F32 if it names none).
absl::Status SaveParametersAsModel(const Context& context, const ModelConfig& config,
                                   const ModelModules& modules, const FlatParameters& parameters,
                                   const std::string& directory);

}  // namespace lockstep::nn
