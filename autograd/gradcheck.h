// Checks an op's backward pass against finite differences, for tests.
//
//   GradCheck("glu", {Random(DType::kF64, {5, 6}, 1)},
//             [](Tape& tape, absl::Span<const Variable> in) -> std::vector<Variable> {
//               return {Glu(tape, in[0], GluActivation::kSilu)}; });
//
// The scalar that is differentiated is Σ <output_i, c_i> with fixed random c_i. Each element of
// each input is moved by ±h and the central difference compared with the tape's gradient, all in
// f64. The inputs are leaves where `as_leaves` says so (gradients written to memory of their own,
// here filled with garbage first, so that `=` and `+=` cannot be confused), activations otherwise.
#pragma once

#include <functional>
#include <vector>

#include "autograd/tape.h"

namespace lockstep::autograd {

using CheckedFunction =
    std::function<std::vector<Variable>(Tape& tape, absl::Span<const Variable> inputs)>;

struct GradCheckOptions {
  std::vector<bool> as_leaves;  // per input; missing: activation
  std::vector<bool> frozen;     // per input: no gradient is wanted; missing: false
  double step = 1e-6;           // h, relative to max(1, |x|)
  double tolerance = 1e-7;      // on |got − want| / (1 + max over the input of |want|)
};

// Reports failures through GoogleTest, naming the op, the input and the element. Inputs must be
// f64.
void GradCheck(const char* op, const std::vector<Tensor>& inputs, const CheckedFunction& function,
               const GradCheckOptions& options = {});

}  // namespace lockstep::autograd
