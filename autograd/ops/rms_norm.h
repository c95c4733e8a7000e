// Differentiable RMSNorm; equations in tensor/kernels/rms_norm.h.
#pragma once

#include "autograd/tape.h"
#include "tensor/kernels/rms_norm.h"

namespace lockstep::autograd {

using kernels::NormForm;
using kernels::RmsNormOptions;

// y[T, C] of x[T, C] and weight[C]; the weight may be frozen or a leaf. Saves x and rstd.
Variable RmsNorm(Tape& tape, const Variable& x, const Variable& weight,
                 const RmsNormOptions& options);

// What ops that contain norms share.

// Memory for 1/σ of activations of type `dtype`.
Tensor NewRstd(Allocator& allocator, DType dtype, std::initializer_list<int64_t> shape);

// The gradients of one norm: writes the weight's gradient (input `weight_index` of the op) where
// one is wanted, and into `dx`
//   addend + gradient of x
// (views as in RmsNormBackward; addend may be without data).
void BackwardOfRmsNorm(Gradients& gradients, int weight_index, const View& dy, const View& x,
                       const View& rstd, const RmsNormOptions& options, const View& addend,
                       const View& dx);

}  // namespace lockstep::autograd
