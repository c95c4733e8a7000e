#include "tensor/kernels/dispatch.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/normed_product.h"

namespace lockstep::kernels::cpu {

void NormedProduct(const Stream& stream, const View& g, const NormedMatrix& y, const View& c,
                   bool accumulate, const View&) {
  CpuAllocator allocator;
  const Tensor normed = Tensor::Empty(allocator, y.x.dtype, {y.x.shape[0], y.x.shape[1]});
  kernels::RmsNormAgain(stream, y.x, y.w, y.rstd, y.options, normed);
  kernels::Gemm(stream, Transposed(g), normed, c, {.beta = accumulate ? 1.0 : 0.0});
}

}  // namespace lockstep::kernels::cpu
