// Shapes of well-known models for `bench`, and what a step of them costs.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nn/config.h"

namespace lockstep {

// config.json of "135m" (SmolLM2-135M), "1b" (Llama-3.2-1B) or "8b" (Llama-3.1-8B).
absl::StatusOr<std::string> ShapeConfig(absl::string_view name);

// Floating-point operations of one LoRA step over `documents` documents of `length` tokens, of
// which all but the first are supervised, without recomputation: forward, and backward to the
// inputs of frozen weights (each 2 operations a weight and token), forward and both backwards of A
// and B, and attention over the past (2 products forward, 5 backward).
double StepFlops(const nn::ModelConfig& config, int64_t lora_weights, int64_t documents,
                 int64_t length);

}  // namespace lockstep
