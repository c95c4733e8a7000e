// What the decoder computes with: weights in the compute layout, each frozen or a leaf.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autograd/variable.h"

namespace lockstep::nn {

// LoRA of one module, e.g. q_proj: acts on rows [begin, end) of the merged matrix it is part of.
struct LoraWeights {
  std::string module;            // its path, which keys dropout
  autograd::Variable a;          // [r, in]
  autograd::Variable b;          // [end − begin, r]
  autograd::Variable magnitude;  // [end − begin], with DoRA alone
  int64_t begin = 0, end = 0;
  double scale = 0;
  double dropout = 0;
};

// Linear layers that read the same input, merged: outputs side by side.
struct LinearWeights {
  autograd::Variable weight;      // [out, in]
  autograd::Variable bias;        // [out] or undefined
  std::vector<LoraWeights> lora;  // in the order of their rows
};

struct LayerWeights {
  autograd::Variable input_norm;           // [C]
  LinearWeights qkv;                       // [(H + 2K)·D, C]
  autograd::Variable q_norm, k_norm;       // [D], with qk_norm
  LinearWeights o;                         // [C, H·D]
  autograd::Variable post_attention_norm;  // [C], with branch_norms: of attention's output
  autograd::Variable pre_mlp_norm;         // [C], the norm before the MLP
  LinearWeights gate_up;                   // [2F, C]
  LinearWeights down;                      // [C, F]
  autograd::Variable post_mlp_norm;        // [C], with branch_norms
};

struct DecoderWeights {
  autograd::Variable embedding;  // [V, C]
  std::vector<LayerWeights> layers;
  autograd::Variable norm;  // [C]
  autograd::Variable head;  // [V, C]; the same variable as embedding where they are tied
};

}  // namespace lockstep::nn
