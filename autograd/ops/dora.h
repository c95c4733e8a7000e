// Dora: the outputs of a LinearLora without bias, scaled to learned magnitudes, then its bias.
//
//   y[:, range_i] = m_i / ‖W_i + scale_i B_i A_i‖ ⊙ x[:, range_i]   for targets with a magnitude
//   m_i y[:, rest] = x[:, rest];   y += bias
//
// range_i are the outputs of adapter i, W_i their rows of W; the norm is taken by row and, as in
// PEFT, constant to the backward pass. Source: Liu et al., arXiv:2402.09353. With dropout the
// frozen part sees x itself, the adapter dropout(x); PEFT gives dropout(x) to both, at the price of
// a second product with W.
//
//   x            [T, N]   activation: LinearLora(tape, …, bias = none, adapters)
//   W, adapters  as given to that LinearLora
//   magnitudes   [n_i]    m_i of adapter i: a leaf or frozen, f64 where x is f64, otherwise f32;
//                         undefined: an adapter without DoRA
//   bias         [N]      frozen, a leaf, or undefined
// Saved: x and the norms.
#pragma once

#include "absl/types/span.h"
#include "autograd/ops/linear_lora.h"
#include "autograd/tape.h"

namespace lockstep::autograd {

Variable Dora(Tape& tape, const Variable& x, const Variable& w, const Variable& bias,
              absl::Span<const LoraAdapter> adapters, absl::Span<const Variable> magnitudes);

}  // namespace lockstep::autograd
