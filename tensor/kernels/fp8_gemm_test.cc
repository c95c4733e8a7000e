#include "tensor/kernels/fp8_gemm.h"

#include "tensor/kernels/e4m3.h"
#include "tensor/kernels/quantized.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(Fp8GemmTest, SumsProductsOfCodes) {
  const Quantized a(CpuContext(), Random(DType::kF32, {7, 48}, 1)),
      b(CpuContext(), Random(DType::kF32, {32, 48}, 2, 0.02));
  const Tensor c = Random(DType::kF32, {7, 32}, 3), bias = Random(DType::kF32, {32}, 4);
  std::vector<double> want = ToVector(c);
  for (int m = 0; m < 7; ++m) {
    for (int n = 0; n < 32; ++n) {
      double sum = 0;
      for (int k = 0; k < 48; ++k) {
        sum += static_cast<double>(E4m3ToFloat(a.codes().view().as<uint8_t>()[m * 48 + k])) *
               E4m3ToFloat(b.codes().view().as<uint8_t>()[n * 48 + k]);
      }
      double& out = want[m * 32 + n];
      out = sum * a.scales().view().as<float>()[m] * b.scales().view().as<float>()[n] + out +
            bias.view().as<float>()[n];
    }
  }
  Fp8Gemm(CpuContext().stream, a, b, c, {.beta = 1, .bias = bias});
  ExpectNear(c, FromVector(DType::kF64, {7, 32}, want), 1e-6, 1e-6);
}

}  // namespace
}  // namespace lockstep::kernels
