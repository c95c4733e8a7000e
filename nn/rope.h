// Frequencies of rotary position embeddings, with the scalings of transformers
// (modeling_rope_utils.py). With P = rotary_dim / 2 and f_i = theta^(−i/P), i < P:
//
//   default    f_i
//   linear     f_i / factor
//   dynamic    theta' = theta · (factor·L/M − (factor − 1))^(d/(d − 2)), L = max(length, M),
//              M = max_position_embeddings, d = rotary_dim: depends on the document's length
//   llama3     long waves (2π/f > M/low_freq_factor) f/factor, short ones (2π/f <
//              M/high_freq_factor) f, between them interpolated; M =
//              original_max_position_embeddings
//   yarn       (1 − ρ_i) f_i + ρ_i f_i / factor with ρ_i = (i − low) / (high − low) within [0, 1];
//              low and high are the channels that turn beta_fast and beta_slow times in M =
//              original_max_position_embeddings tokens, d ln(M / (2π beta)) / (2 ln theta), rounded
//              down and up if truncate, within [0, d − 1]; cos and sin times attention_factor
//   longrope   f_i / long_factor_i for documents longer than original_max_position_embeddings,
//              f_i / short_factor_i for others; cos and sin times attention_factor
//
// All in fp32 and in the order of operations of transformers, whatever the model's dtype: a unit in
// the last place of a frequency near 1 moves the angle of position 1000 by 6·10⁻⁵.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "nn/config.h"
#include "tensor/context.h"
#include "tensor/tensor.h"

namespace lockstep::nn {

// Frequencies [P] for documents of this length.
std::vector<float> InverseFrequencies(const RopeConfig& config, int64_t length);

// Whether documents of both lengths have the same frequencies.
bool HaveSameFrequencies(const RopeConfig& config, int64_t length, int64_t other);

// The cosines and sines of a pack (autograd/ops/rope.h). `lengths` are those of the documents,
// whose rows begin at `starts` [D + 1]; rows behind the last document may have any angle.
Tensor PackRopeTable(const Context& context, const RopeConfig& config, const Tensor& positions,
                     absl::Span<const int32_t> starts, absl::Span<const int64_t> lengths);

}  // namespace lockstep::nn
