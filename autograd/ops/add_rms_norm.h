// Differentiable residual + norm; equations in tensor/kernels/add_rms_norm.h.
//
//   sum = residual + branch                       or residual + RMSNorm(branch, post_weight)
//   normed = RMSNorm(sum, weight)
//
// Saves sum and rstd; with a post-norm also branch. It stands alone behind the last layer; inside
// layers it is the head of a larger op (normed_linear.h, normed_mlp.h), which does not keep normed:
// backward computes it again from sum and rstd.
#pragma once

#include <vector>

#include "autograd/ops/rms_norm.h"
#include "tensor/kernels/normed_product.h"

namespace lockstep::autograd {

// The residual stream, what joins it, and the norm behind. All [T, C]; weights [C] may be frozen or
// leaves.
struct ResidualInput {
  Variable residual;
  Variable branch;       // undefined: sum is residual itself
  Variable post_weight;  // undefined: no post-norm
  Variable weight;
  RmsNormOptions options;
  // Of residual, where there is no branch and it is known; norms computed from it have the bits of
  // those that it came from.
  Tensor rstd = {};
};

struct AddRmsNormResult {
  Variable sum;     // [T, C], the residual stream
  Variable normed;  // [T, C], the next block's input
};

AddRmsNormResult AddRmsNorm(Tape& tape, const ResidualInput& in);

struct ResidualSumResult {
  Variable sum;  // [T, C]
  Tensor rstd;   // [T], of sum: what ResidualInput wants of a sum that is known
};

// The sum alone, without a post-norm; `in.weight` is not used. Saves nothing.
ResidualSumResult ResidualSum(Tape& tape, const ResidualInput& in);

// The head of a larger op. That op's first inputs, saved tensors and output 0 are those named here.
class ResidualHead {
 public:
  enum Input { kResidual, kBranch, kPostWeight, kWeight, kNumInputs };
  enum Saved { kSum, kRstd, kSavedBranch, kPostRstd, kNumSaved };

  // Computes sum and normed. `more`: the op's other inputs, which may make the tape record it.
  ResidualHead(Tape& tape, const ResidualInput& in, absl::Span<const Variable> more);
  const Tensor& sum() const { return saved_[kSum]; }
  const Tensor& normed() const { return normed_; }
  const std::vector<Variable>& inputs() const { return inputs_; }  // `more` behind its own
  const std::vector<Tensor>& saved() const { return saved_; }      // some may be undefined

  // What backward needs of it.
  struct Gradient {
    RmsNormOptions options;
    bool has_branch, post;

    // normed again, the same bits; and what it is computed from.
    Tensor Normed(const Gradients& g) const;
    kernels::NormedMatrix Norm(const Gradients& g) const;
    // Whether anything before the linear layer wants a gradient.
    bool Wanted(const Gradients& g) const;
    // Hands in the gradients of residual, branch and the weights, from the stream's (output 0) and
    // that of normed, which may be undefined.
    void Backward(Gradients& g, Tensor dnormed) const;
  };
  Gradient gradient() const { return gradient_; }

 private:
  Gradient gradient_;
  Tensor normed_;
  std::vector<Variable> inputs_;
  std::vector<Tensor> saved_;
};

}  // namespace lockstep::autograd
