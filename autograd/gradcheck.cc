#include "autograd/gradcheck.h"

#include <algorithm>
#include <cmath>

#include "gtest/gtest.h"
#include "tensor/kernels/testing.h"

namespace lockstep::autograd {
namespace {

using kernels::CpuContext;
using kernels::GetElement;
using kernels::SetElement;
using kernels::ToVector;

bool Flag(const std::vector<bool>& flags, size_t i) { return i < flags.size() && flags[i]; }

Tensor Copy(const Tensor& x) {
  return kernels::FromVector(x.dtype(), absl::MakeConstSpan(x.view().shape, x.rank()), ToVector(x));
}

std::vector<Tensor> Cotangents(absl::Span<const Variable> outputs) {
  std::vector<Tensor> cotangents;
  for (const Variable& output : outputs) {
    const Tensor c = kernels::Random(DType::kF64, {output.value().numel()},
                                     static_cast<uint32_t>(77 + cotangents.size()));
    cotangents.push_back(
        c.Reshape(absl::MakeConstSpan(output.value().view().shape, output.value().rank())));
  }
  return cotangents;
}

// Σ <output_i, c_i> at these inputs.
double Evaluate(const CheckedFunction& function, const std::vector<Tensor>& inputs) {
  Tape tape(CpuContext(), Tape::Mode::kForward);
  std::vector<Variable> variables;
  for (const Tensor& input : inputs) variables.push_back(Tape::Input(Copy(input)));
  const std::vector<Variable> outputs = function(tape, variables);
  const std::vector<Tensor> cotangents = Cotangents(outputs);
  double sum = 0;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::vector<double> y = ToVector(outputs[i].value()), c = ToVector(cotangents[i]);
    for (size_t j = 0; j < y.size(); ++j) sum += y[j] * c[j];
  }
  return sum;
}

// The tape's gradients by all inputs; undefined for frozen ones.
std::vector<Tensor> Differentiate(const CheckedFunction& function,
                                  const std::vector<Tensor>& inputs,
                                  const GradCheckOptions& options) {
  Tape tape(CpuContext());
  std::vector<Variable> variables;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor value = Copy(inputs[i]);
    if (Flag(options.frozen, i)) {
      variables.push_back(Variable::Frozen(value));
    } else if (Flag(options.as_leaves, i)) {
      const Tensor garbage = Copy(inputs[i]);
      for (int64_t j = 0; j < garbage.numel(); ++j) {
        SetElement(garbage.view().data, DType::kF64, j, 1e9);
      }
      variables.push_back(Variable::Leaf("input" + std::to_string(i), value, garbage));
    } else {
      variables.push_back(Tape::Input(value));
    }
  }
  const std::vector<Variable> outputs = function(tape, variables);
  const std::vector<Tensor> cotangents = Cotangents(outputs);
  tape.Backward(outputs, cotangents, nullptr);
  std::vector<Tensor> gradients;
  for (const Variable& v : variables) {
    gradients.push_back(!v.needs_grad() ? Tensor()
                        : v.is_leaf()   ? v.leaf_grad()
                                        : Tape::GradientOf(v));
  }
  return gradients;
}

}  // namespace

void GradCheck(const char* op, const std::vector<Tensor>& inputs, const CheckedFunction& function,
               const GradCheckOptions& options) {
  const std::vector<Tensor> gradients = Differentiate(function, inputs, options);
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (Flag(options.frozen, i)) continue;
    ASSERT_TRUE(gradients[i].defined()) << "[" << op << "] input " << i << " got no gradient";
    const std::vector<double> got = ToVector(gradients[i]), x = ToVector(inputs[i]);
    std::vector<double> want(got.size());
    std::vector<Tensor> moved = inputs;
    double largest = 0;
    for (size_t j = 0; j < x.size(); ++j) {
      const double h = options.step * std::max(1.0, std::abs(x[j]));
      moved[i] = Copy(inputs[i]);
      SetElement(moved[i].view().data, DType::kF64, j, x[j] + h);
      const double above = Evaluate(function, moved);
      SetElement(moved[i].view().data, DType::kF64, j, x[j] - h);
      want[j] = (above - Evaluate(function, moved)) / (2 * h);
      largest = std::max(largest, std::abs(want[j]));
    }
    for (size_t j = 0; j < x.size(); ++j) {
      EXPECT_LE(std::abs(got[j] - want[j]), options.tolerance * (1 + largest))
          << "[" << op << "] gradient of input " << i << ", element " << j << ": got " << got[j]
          << ", want " << want[j];
    }
  }
}

}  // namespace lockstep::autograd
