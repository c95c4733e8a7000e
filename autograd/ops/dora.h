// Dora: the outputs of a LinearLora without bias, scaled to learned magnitudes, then its bias.
//
//   y[:, range_i] = c_i ⊙ x[:, range_i],  c_i = m_i / ‖W_i + scale_i B_i A_i‖
//                                                       for targets with a magnitude
//   y[:, rest] = x[:, rest];   y += bias
//   with dropout also   y[:, range_i] += (c_i − 1) ⊙ (dropout_i(input) − input) W_iᵀ
//
// range_i are the outputs of adapter i, W_i their rows of W; the norm is taken by row and, as in
// PEFT, constant to the backward pass. Source: Liu et al., arXiv:2402.09353. The term with dropout
// is PEFT's: there c_i − 1 multiplies what W makes of dropout_i(input), not of the input itself. It
// costs a second product with W_i in forward and backward.
//
//   x            [T, N]   activation: LinearLora(tape, input, W, bias = none, adapters, dropout)
//   W, adapters  as given to that LinearLora
//   magnitudes   [n_i]    m_i of adapter i: a leaf or frozen, f64 where x is f64, otherwise f32;
//                         undefined: an adapter without DoRA
//   bias         [N]      frozen, a leaf, or undefined
//   input        [T, C]   activation; read only with dropout. W is frozen then
// Saved: x and the norms; with dropout also (dropout(input) − input) Wᵀ, [T, N].
#pragma once

#include "absl/types/span.h"
#include "autograd/ops/lora_layer.h"
#include "autograd/tape.h"

namespace lockstep::autograd {

Variable Dora(Tape& tape, const Variable& x, const Variable& w, const Variable& bias,
              absl::Span<const LoraAdapter> adapters, absl::Span<const Variable> magnitudes,
              const Variable& input = {}, const LoraDropout& dropout = {});

}  // namespace lockstep::autograd
