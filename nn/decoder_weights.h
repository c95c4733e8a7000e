// What the decoder computes with: weights in the compute layout, each frozen or a leaf.
#pragma once

#include <optional>
#include <vector>

#include "autograd/ops/linear_lora.h"
#include "autograd/variable.h"
#include "nn/flat_parameters.h"

namespace lockstep::nn {

// Linear layers that read the same input, merged: outputs side by side.
struct LinearWeights {
  autograd::Variable weight;                    // [out, in]; in FP8 the image's codes
  autograd::Variable bias;                      // [out] or undefined
  std::vector<autograd::LoraAdapter> adapters;  // in the order of their rows
  std::vector<autograd::Variable> magnitudes;   // DoRA: one for each adapter; otherwise empty
  autograd::Fp8Image image;                     // in FP8
};

struct LayerWeights {
  Arrival arrival;
  autograd::Variable input_norm;           // [C]
  LinearWeights qkv;                       // [(H + 2K)·D, C]
  autograd::Variable q_norm, k_norm;       // [D], with qk_norm
  LinearWeights o;                         // [C, H·D]
  autograd::Variable post_attention_norm;  // [C], with branch_norms: of attention's output
  autograd::Variable pre_mlp_norm;         // [C], of the MLP's input
  LinearWeights gate_up;                   // [2F, C]
  LinearWeights down;                      // [C, F]
  autograd::Variable post_mlp_norm;        // [C], with branch_norms: of the MLP's output
};

struct DecoderWeights {
  Arrival embedding_arrival;
  autograd::Variable embedding;                         // [V, C]
  std::optional<autograd::LoraAdapter> embedding_lora;  // a [r, V], b [C, r]
  std::vector<LayerWeights> layers;
  Arrival head_arrival;     // of the norm as well
  autograd::Variable norm;  // [C]
  LinearWeights head;       // [V, C]; the embedding's variable where they are tied
};

}  // namespace lockstep::nn
