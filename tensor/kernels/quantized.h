// A matrix quantized by QuantizeRows, with the memory of its codes and scales.
#pragma once

#include "tensor/context.h"
#include "tensor/kernels/quantize.h"
#include "tensor/tensor.h"

namespace lockstep::kernels {

class Quantized {
 public:
  // x ∘ factors, [T, C].
  Quantized(const Context& context, const View& x, const View& factors = {})
      : codes_(Tensor::Empty(*context.allocator, DType::kU8, {x.shape[0], x.shape[1]})),
        scales_(Tensor::Empty(*context.allocator, DType::kF32, {x.shape[0]})) {
    QuantizeRows(context.stream, x, factors, *this);
  }
  operator ScaledRows() const { return {codes_, scales_}; }  // NOLINT(google-explicit-constructor)

  const Tensor& codes() const { return codes_; }
  const Tensor& scales() const { return scales_; }

 private:
  Tensor codes_, scales_;
};

}  // namespace lockstep::kernels
