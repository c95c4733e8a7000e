// Models of known sizes with random weights, and what a step of them costs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nn/config.h"
#include "nn/model.h"
#include "tensor/context.h"
#include "tensor/tensor.h"

namespace lockstep {

// config.json of "8b" (Llama 3.1 8B), "1b" (Llama 3.2 1B, heads of 64, tied head), "135m" (SmolLM2
// 135M) or "tiny" (for tests).
absl::StatusOr<std::string> ShapeConfig(absl::string_view name);

// LoRA of rank `r` on all linear layers, everything computed and stored in `dtype`, one slot. B is
// not zero: products with zeros would draw less power.
nn::ModelOptions LoraOptions(int64_t r, DType dtype);

// `options` says how it is trained and computed; frozen weights are random.
absl::StatusOr<std::unique_ptr<nn::Model>> RandomModel(const Context& context,
                                                       const std::string& config_json,
                                                       nn::ModelOptions options);

// Normal values of deviation 0.02, in f32 or bf16.
void FillRandom(const Context& context, const Tensor& tensor);

// Floating-point operations of one LoRA step over `documents` documents of `length` tokens, of
// which all but the first are supervised, without recomputation: forward, and backward to the
// inputs of frozen weights (each 2 operations a weight and token), forward and both backwards of A
// and B, and attention over the past (2 products forward, 5 backward).
double StepFlops(const nn::ModelConfig& config, int64_t lora_weights, int64_t documents,
                 int64_t length);

}  // namespace lockstep
