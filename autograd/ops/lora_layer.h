// What a linear layer with LoRA consists of; equation and shapes in linear_lora.h.
#pragma once

#include <cstdint>
#include <vector>

#include "autograd/ops/wide_matrix.h"
#include "autograd/tape.h"

namespace lockstep::autograd {

struct LoraAdapter {
  Variable a, b;
  double scale = 1;
  int64_t first = 0;         // where its range of outputs starts; it ends n = b.dim(0) later
  uint64_t dropout_key = 0;  // of the run's seed and the module's name
};

struct LoraDropout {
  double p = 0;
  Tensor token_keys = {};  // i64 [T]; may be undefined where p = 0
};

// A frozen or trained linear layer with its adapters; bias may be undefined. In FP8 w is frozen,
// the image's codes.
struct LoraLayer {
  Variable w, bias;
  std::vector<LoraAdapter> adapters;
  Fp8Image image = {};
};

}  // namespace lockstep::autograd
