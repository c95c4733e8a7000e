// The wide products of a training step of LoRA, as shapes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/config.h"

namespace lockstep {

// C [m, n] = A [m, k] · B [k, n], where B is the weight W.
struct GemmProduct {
  std::string name;  // "gate_up", "gate_up_dx"
  int64_t m, n, k;
  bool transposed_b;  // B is W transposed: y = x Wᵀ, not dx = dy W
  bool adds;          // to LoRA's share of dx, which is there already
};

// Of a layer, and of the head: forward, and the input's gradient. `tokens` rows, of the head's at
// most `head_rows`.
std::vector<GemmProduct> GemmProductsOf(const nn::ModelConfig& config, int64_t tokens,
                                        int64_t head_rows);

}  // namespace lockstep
