// Runs a golden the way the trainer trains, and measures how far each figure is from it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "nn/model.h"
#include "nn/packed_tokens.h"
#include "tensor/context.h"
#include "tests/golden.h"

namespace lockstep {

// Largest differences. Logits: absolute. Gradients and the final adapter: per matrix, relative to
// its largest element. Losses and norms: relative.
struct Differences {
  double logits_base = 0;
  double logits_adapter = 0;
  double loss = 0;  // over all steps
  double grad_norm = 0;
  double gradient = 0;
  std::string gradient_of;  // the matrix whose gradient is furthest off
  double final_adapter = 0;
};

// bf16 on the models of the goldens with random weights, logits relative to the largest: bf16
// rounds to 2^-9 of a value, a dozen times a layer on the way to the logits and again on the way
// back, which makes some 2^-6 of the largest element.
inline constexpr Tolerance kRandomBF16{0.05, 2e-3, 0.015, 0.08, 0.12};

bool Meets(const Differences& differences, const Tolerance& tolerance);  // NaN does not
std::string Show(const Differences& differences);
// With logits relative to the golden's largest.
Differences RelativeLogits(const Golden& golden, Differences differences);

struct GoldenRunOptions {
  DType dtype = DType::kF32;
  DeviceType device = DeviceType::kCPU;
  bool one_pack = true;      // or one for each document
  bool reversed = false;     // the last pack goes first
  int64_t row_multiple = 1;  // packs end in rows of no document up to a multiple of this
  nn::Checkpointing checkpointing = nn::Checkpointing::kNone;
  // Plants an error: what the decoder believes of the model.
  std::function<void(nn::ModelConfig&)> mutate = nullptr;
  // Plants an error: changes weights after loading.
  std::function<void(nn::Model&)> damage = nullptr;
};

// The CPU or the first GPU (which must be there).
Context TestContext(DeviceType device = DeviceType::kCPU);

// The elements of a contiguous tensor on any device.
std::vector<double> ValuesOf(const Context& context, const Tensor& tensor);

// The documents as one pack, on context's device.
nn::PackedTokens PackDocuments(const Context& context, const std::vector<GoldenDocument>& documents,
                               int64_t row_multiple = 1);

Differences RunGolden(const Golden& golden, const GoldenRunOptions& options);

}  // namespace lockstep
