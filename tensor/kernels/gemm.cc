#include "tensor/kernels/gemm.h"

#include "tensor/kernels/dispatch.h"

namespace lockstep::kernels {
namespace {

void CheckTypes(const View& a, const View& b, const View& c, const View& bias) {
  CHECK(IsFloat(a.dtype)) << "[gemm] A: want a floating-point type, got " << Describe(a);
  CHECK(b.dtype == a.dtype || Is16Bit(b.dtype))
      << "[gemm] B: want " << NameOf(a.dtype) << ", bf16 or f16, got " << Describe(b);
  CheckSumType("gemm", "C", c, a.dtype);
  CHECK(bias.rank == 0 || bias.dtype == a.dtype || Is16Bit(bias.dtype))
      << "[gemm] bias: want " << NameOf(a.dtype) << ", bf16 or f16, got " << Describe(bias);
}

}  // namespace

void Gemm(const Stream& stream, const View& a, const View& b, const View& c,
          const GemmOptions& options) {
  CHECK(a.rank == 2 && b.rank == 2 && c.rank == 2) << "[gemm] want matrices, got " << Describe(a)
                                                   << ", " << Describe(b) << " and " << Describe(c);
  CHECK_SHAPE("gemm", "B", b, a.shape[1], b.shape[1]);
  CHECK_SHAPE("gemm", "C", c, a.shape[0], b.shape[1]);
  if (options.bias.rank != 0) {
    CHECK_SHAPE("gemm", "bias", options.bias, b.shape[1]);
    CHECK(options.bias.contiguous()) << "[gemm] bias: want contiguous elements";
  }
  CheckTypes(a, b, c, options.bias);
  for (const View* x : {&a, &b}) {
    CHECK(LayoutOf(*x).valid) << "[gemm] want contiguous rows or columns, got " << Describe(*x)
                              << " with strides " << x->stride[0] << ", " << x->stride[1];
  }
  CHECK(LayoutOf(c).valid && !LayoutOf(c).transposed)
      << "[gemm] C: want contiguous rows, got " << Describe(c) << " with strides " << c.stride[0]
      << ", " << c.stride[1];
  if (c.numel() == 0) return;
  LOCKSTEP_DISPATCH(stream, Gemm, a, b, c, options);
}

}  // namespace lockstep::kernels
