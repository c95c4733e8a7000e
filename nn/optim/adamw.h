// AdamW over the flat parameters, with clipping by the norm of the whole gradient; both on the
// device, without a host sync. Equations: tensor/kernels/adamw.h, norm.h.
//
//   optimizer.Step(context, parameters, step, rate);          // all of it, or range by range:
//
//   for ranges of the gradient:    optimizer.AddToNorm(context, parameters, begin, end);
//   optimizer.Clip(context);
//   for ranges of the parameters:  optimizer.Update(context, parameters, begin, end, step, rate);
//
// Ranges give the bits of the whole. Several ranks that have a part each bring partials() together
// before Clip.
#pragma once

#include <cstdint>

#include "nn/flat_parameters.h"
#include "tensor/context.h"
#include "tensor/tensor.h"

namespace lockstep::nn {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;   // of parameters that decay
  double max_grad_norm = 1;  // 0: no clipping
};

class AdamW {
 public:
  // `overflow_slot` of the parameters' slots counts gradients that exact sums could not hold: not
  // zero makes Step change nothing, on every rank alike.
  AdamW(const Context& context, const FlatParameters& parameters, const AdamWOptions& options,
        int overflow_slot);

  // Applies the step's gradient, which lies complete in parameters.sums(), and brings the image up
  // to date. `step` counts from 1.
  void Step(const Context& context, FlatParameters& parameters, int64_t step, double learning_rate);

  // Elements [begin, end) of the gradient; `begin` is a multiple of kernels::kNormChunk, and `end`
  // too unless it is that of the parameters.
  void AddToNorm(const Context& context, const FlatParameters& parameters, int64_t begin,
                 int64_t end);
  // f64, a sum of squares for each kernels::kNormChunk elements of the gradient.
  const Tensor& partials() const { return partials_; }
  // The whole gradient is in the norm.
  void Clip(const Context& context);
  // Elements [begin, end) of the parameters take the step.
  void Update(const Context& context, FlatParameters& parameters, int64_t begin, int64_t end,
              int64_t step, double learning_rate);

  // f64 [2] on the device: the norm of the last step's gradient before clipping, and the factor by
  // which it was clipped (NaN, and nothing was changed, if the norm is not finite).
  const Tensor& norm_and_factor() const { return norm_and_factor_; }

 private:
  AdamWOptions options_;
  int overflow_slot_;
  Tensor norm_and_factor_, partials_;
  Tensor no_overflow_;  // a zero, where sums are not exact
};

}  // namespace lockstep::nn
