// WideMatrix: W [N, C] of a linear layer and its two wide products,
//   y = x Wᵀ   and   dx = dy W.
//
// W lies in memory in a floating-point type, or, frozen, in FP8: a code of e4m3 an element and a
// scale an output, W[n, c] ≈ scales[n] · codes[n, c]. Products are then of codes too, summed in
// fp32 (tensor/kernels/fp8_gemm.h). What W is multiplied with is quantized with a scale a token, so
// that what a token gets depends on that token alone:
//   y[t, n]  = s[t] · scales[n] · Σ_c x8[t, c] · codes[n, c]    x ≈ s ∘ x8
//   dx[t, c] = u[t] · Σ_n z8[t, n] · codes[n, c]                dy ∘ scales ≈ u ∘ z8
// So dx is the gradient of y as a function of the rounded x, but for the rounding of dy.
#pragma once

#include "tensor/context.h"
#include "tensor/kernels/quantize.h"
#include "tensor/tensor.h"

namespace lockstep::autograd {

// W in FP8. Two images, since products on Hopper want what they sum over to be contiguous: as much
// memory as bf16. N and C are multiples of 16.
struct Fp8Image {
  Tensor codes;       // [N, C] u8
  Tensor scales;      // [N] f32
  Tensor transposed;  // [C, N] u8: the same codes
  Tensor ones;        // [C] f32: the scales of `transposed`

  bool defined() const { return codes.defined(); }

  // Contents undefined but for `ones`: then SetRows for all rows, then Finish.
  static Fp8Image Empty(const Context& context, int64_t outputs, int64_t inputs);
  void SetRows(const Context& context, int64_t first, const View& w) const;
  void Finish(const Context& context) const;
};

class WideMatrix {
 public:
  // `w`: the image's codes, where it is defined.
  WideMatrix(const View& w, Fp8Image image) : w_(w), image_(std::move(image)) {}

  int64_t inputs() const { return w_.shape[1]; }
  int64_t outputs() const { return w_.shape[0]; }

  // y = x Wᵀ + beta · y + bias (rank 0: none); dx = dy W + beta · dx.
  void Outputs(const Context& context, const View& x, const View& y, double beta,
               const View& bias = {}) const;
  void Inputs(const Context& context, const View& dy, const View& dx, double beta) const;

 private:
  View w_;
  Fp8Image image_;
};

}  // namespace lockstep::autograd
