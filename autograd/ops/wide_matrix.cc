#include "autograd/ops/wide_matrix.h"

#include "tensor/kernels/fill.h"
#include "tensor/kernels/fp8_gemm.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/quantized.h"

namespace lockstep::autograd {

Fp8Image Fp8Image::Empty(const Context& context, int64_t outputs, int64_t inputs) {
  const auto empty = [&](DType dtype, std::initializer_list<int64_t> shape) {
    return Tensor::Empty(*context.allocator, dtype, shape);
  };
  const Fp8Image image = {empty(DType::kU8, {outputs, inputs}), empty(DType::kF32, {outputs}),
                          empty(DType::kU8, {inputs, outputs}), empty(DType::kF32, {inputs})};
  kernels::Fill(context.stream, image.ones.Mutable("fp8_image"), 1.0);
  return image;
}

void Fp8Image::SetRows(const Context& context, int64_t first, const View& w) const {
  const int64_t end = first + w.shape[0];
  kernels::QuantizeRows(context.stream, w, {},
                        {codes.Slice(0, first, end).Mutable("fp8_image"),
                         scales.Slice(0, first, end).Mutable("fp8_image")});
}

void Fp8Image::Finish(const Context& context) const {
  kernels::TransposeCodes(context.stream, codes, transposed.Mutable("fp8_image"));
}

void WideMatrix::Outputs(const Context& context, const View& x, const View& y, double beta,
                         const View& bias) const {
  if (!image_.defined()) {
    return kernels::Gemm(context.stream, x, kernels::Transposed(w_), y,
                         {.beta = beta, .bias = bias});
  }
  const kernels::Quantized x8(context, x);
  kernels::Fp8Gemm(context.stream, x8, {image_.codes, image_.scales}, y,
                   {.beta = beta, .bias = bias});
}

void WideMatrix::Inputs(const Context& context, const View& dy, const View& dx, double beta) const {
  if (!image_.defined()) return kernels::Gemm(context.stream, dy, w_, dx, {.beta = beta});
  const kernels::Quantized z8(context, dy, image_.scales);
  kernels::Fp8Gemm(context.stream, z8, {image_.transposed, image_.ones}, dx, {.beta = beta});
}

}  // namespace lockstep::autograd
