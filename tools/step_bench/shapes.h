// Models of known sizes with random weights, without files.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "nn/model.h"
#include "tensor/context.h"

namespace lockstep {

// "8b" (Llama 3.1 8B), "1b" (Llama 3.2 1B, heads of 64, tied head), "135m" (SmolLM2 135M) or "tiny"
// (for tests). `options` says how it is trained and computed; frozen weights are random.
absl::StatusOr<std::unique_ptr<nn::Model>> RandomModel(const Context& context,
                                                       const std::string& shape,
                                                       nn::ModelOptions options);

}  // namespace lockstep
