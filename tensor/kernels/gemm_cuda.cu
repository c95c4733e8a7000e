// Products through cuBLASLt.
//
// Bits: the algorithm is one of the library's suggestions, nearly always the first, chosen by
// types, sizes, strides, alignment and hardware, never measured at run time, hence the same on
// every rank. (docs/experiments.md, "Choosing between kernels", has what others would give.)
// Split-K may reduce through its workspace, in a fixed order; reductions in arrival order (in
// place, by atomics) are excluded.

#include "tensor/kernels/cublaslt.h"
#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/gemm.h"

namespace lockstep::kernels::cuda {
namespace {

using namespace device;  // NOLINT(build/namespaces)

cudaDataType_t TypeOf(const View& x) {
  switch (x.dtype) {
    case DType::kF64:
      return CUDA_R_64F;
    case DType::kF32:
      return CUDA_R_32F;
    case DType::kBF16:
      return CUDA_R_16BF;
    case DType::kF16:
      return CUDA_R_16F;
    default:
      Unsupported("gemm", x);
  }
}

}  // namespace

void Gemm(const Stream& stream, const View& a, const View& b, const View& c,
          const GemmOptions& options) {
  const MatrixLayout a_layout = LayoutOf(a), b_layout = LayoutOf(b), c_layout = LayoutOf(c);
  const bool has_bias = options.bias.rank != 0;
  const cublaslt::Problem problem = {TypeOf(a),
                                     TypeOf(b),
                                     TypeOf(c),
                                     has_bias ? TypeOf(options.bias) : CUDA_R_32F,
                                     a_layout.transposed,
                                     b_layout.transposed,
                                     has_bias,
                                     options.beta != 0,
                                     c.shape[0],
                                     c.shape[1],
                                     a.shape[1],
                                     a_layout.ld,
                                     b_layout.ld,
                                     c_layout.ld,
                                     cublaslt::Alignment(a.data),
                                     cublaslt::Alignment(b.data),
                                     cublaslt::Alignment(c.data)};
  if (a.dtype != b.dtype) Unsupported("gemm of two types, the second", b);
  if (a.shape[1] == 0) {  // a sum of nothing
    if (has_bias || (options.beta != 0 && options.beta != 1)) {
      Unsupported("gemm of nothing with a bias or a factor", c);
    }
    if (options.beta == 0) {
      LOCKSTEP_CUDA_CHECK(cudaMemset2DAsync(c.data, c_layout.ld * SizeOf(c.dtype), 0,
                                            c.shape[1] * SizeOf(c.dtype), c.shape[0],
                                            Handle(stream)));
    }
    return;
  }
  cublaslt::PlanFor(problem).Run(Handle(stream),
                                 {a.data, b.data, c.data, has_bias ? options.bias.data : nullptr,
                                  options.alpha, options.beta});
}

}  // namespace lockstep::kernels::cuda
