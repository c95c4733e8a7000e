#include "tensor/kernels/fp8_gemm.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {
namespace {

constexpr char kOp[] = "fp8_gemm";

void CheckRows(const char* name, const ScaledRows& x) {
  CHECK_DTYPE(kOp, name, x.codes, DType::kU8);
  CHECK(x.codes.rank == 2 && x.codes.contiguous() && x.codes.shape[1] % 16 == 0)
      << "[fp8_gemm] " << name << ": want contiguous rows of a multiple of 16 codes, got "
      << Describe(x.codes);
  CHECK_DTYPE(kOp, name, x.scales, DType::kF32);
  CHECK_SHAPE(kOp, name, x.scales, x.codes.shape[0]);
}

}  // namespace

void Fp8Gemm(const Stream& stream, const ScaledRows& a, const ScaledRows& b, const View& c,
             const Fp8GemmOptions& options) {
  CheckRows("a", a);
  CheckRows("b", b);
  CHECK_SHAPE(kOp, "b", b.codes, b.codes.shape[0], a.codes.shape[1]);
  CHECK_EQ(b.codes.shape[0] % 16, 0) << "[fp8_gemm] b: want a multiple of 16 rows";
  CHECK_SHAPE(kOp, "C", c, a.codes.shape[0], b.codes.shape[0]);
  CHECK(c.rank == 2 && c.stride[1] == 1) << "[fp8_gemm] C: want rows of neighbors";
  if (options.bias.rank != 0) {
    CHECK_DTYPE(kOp, "bias", options.bias, c.dtype);
    CHECK_SHAPE(kOp, "bias", options.bias, c.shape[1]);
    CHECK(options.bias.contiguous()) << "[fp8_gemm] bias: want contiguous elements";
  }
  if (c.numel() == 0) return;
  LOCKSTEP_DISPATCH(stream, Fp8Gemm, a, b, c, options);
}

bool HasFp8Gemm(Device device) {
#ifdef LOCKSTEP_OP_HAS_CUDA
  if (device.type == DeviceType::kCUDA) return cuda::HasFp8Gemm(device);
#endif
  return device.type != DeviceType::kCUDA;
}

}  // namespace lockstep::kernels
