// Through cuBLASLt: e4m3 by e4m3 with a scale a row of both.

#include "tensor/kernels/cublaslt.h"
#include "tensor/kernels/device/launch.cuh"
#include "tensor/kernels/fp8_gemm.h"

namespace lockstep::kernels::cuda {

using namespace device;  // NOLINT(build/namespaces)

void Fp8Gemm(const Stream& stream, const ScaledRows& a, const ScaledRows& b, const View& c,
             const Fp8GemmOptions& options) {
  if (c.dtype != DType::kBF16) Unsupported("fp8_gemm", c);
  const bool has_bias = options.bias.rank != 0;
  const int64_t k = a.codes.shape[1];
  const cublaslt::Problem problem = {.a_type = CUDA_R_8F_E4M3,
                                     .b_type = CUDA_R_8F_E4M3,
                                     .c_type = CUDA_R_16BF,
                                     .bias_type = CUDA_R_16BF,
                                     .a_transposed = false,
                                     .b_transposed = true,
                                     .has_bias = has_bias,
                                     .reads_c = options.beta != 0,
                                     .m = c.shape[0],
                                     .n = c.shape[1],
                                     .k = k,
                                     .a_ld = k,
                                     .b_ld = k,
                                     .c_ld = c.stride[0],
                                     .a_alignment = cublaslt::Alignment(a.codes.data),
                                     .b_alignment = cublaslt::Alignment(b.codes.data),
                                     .c_alignment = cublaslt::Alignment(c.data)};
  cublaslt::PlanFor(problem).Run(Handle(stream), {.a = a.codes.data,
                                                  .b = b.codes.data,
                                                  .c = c.data,
                                                  .bias = has_bias ? options.bias.data : nullptr,
                                                  .alpha = 1,
                                                  .beta = options.beta,
                                                  .a_scales = a.scales.data,
                                                  .b_scales = b.scales.data});
}

// The library has scales of rows for Hopper alone.
bool HasFp8Gemm(Device device) {
  int major = 0;
  LOCKSTEP_CUDA_CHECK(
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.index));
  return major == 9;
}

}  // namespace lockstep::kernels::cuda
