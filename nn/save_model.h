// A fully trained model as a Hugging Face folder's model.safetensors.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "nn/flat_parameters.h"
#include "nn/modules.h"
#include "nn/weights.h"
#include "tensor/context.h"

namespace lockstep::nn {

// Writes every parameter under its Hugging Face name, merged matrices cut into their parts, in the
// dtype that config.json names (F32 if it names none). Of a multimodal model's files, `base` (may
// be null), what is not of the text model is copied, with names as transformers 5 has them.
absl::Status SaveParametersAsModel(const Context& context, const ModelConfig& config,
                                   const ModelModules& modules, const FlatParameters& parameters,
                                   const WeightFiles* base, const std::string& directory);

}  // namespace lockstep::nn
