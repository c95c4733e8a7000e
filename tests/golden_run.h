// Runs a golden the way the trainer trains, and measures how far each figure is from it.
#pragma once

#include <functional>
#include <memory>
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
  double final_adapter = 0;
};

struct GoldenRunOptions {
  DType dtype = DType::kF32;
  bool one_pack = true;  // or one for each document
  nn::Checkpointing checkpointing = nn::Checkpointing::kNone;
  // Plants an error: what the decoder believes of the model.
  std::function<void(nn::ModelConfig&)> mutate = nullptr;
  // Plants an error: changes weights after loading.
  std::function<void(nn::Model&)> damage = nullptr;
};

Context TestContext();

// The documents as one pack, on the CPU.
nn::PackedTokens PackDocuments(const Context& context,
                               const std::vector<GoldenDocument>& documents);

Differences RunGolden(const Golden& golden, const GoldenRunOptions& options);

}  // namespace lockstep
