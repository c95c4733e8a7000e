#include "tensor/kernels/adamw.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(AdamWCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  constexpr int64_t kSize = 10000;
  for (const auto& [overflow, factor] : {std::pair{0, 0.5}, {1, 0.5}, {0, NAN}}) {
    Tensor gradient = Random(DType::kI64, {kSize}, 1, 1e13);
    const Tensor param = Random(DType::kF32, {kSize}, 2), m = Random(DType::kF32, {kSize}, 3, 0.01);
    Tensor v = Random(DType::kF32, {kSize}, 4, 0.01);
    for (int64_t i = 0; i < kSize; ++i) {
      float& square = v.view().as<float>()[i];
      square = square * square + 1e-4f;  // far from 0: rounding stays small behind the division
    }
    for (int64_t i = 64; i < 70; ++i) {  // between two ranges: zeros
      gradient.view().as<int64_t>()[i] = 0;
      for (const Tensor& x : {param, m, v}) x.view().as<float>()[i] = 0;
    }
    const Tensor coefficient = FromVector(DType::kF64, {1}, {factor});
    const Tensor flag = FromVector(DType::kI64, {1}, {static_cast<double>(overflow)});
    const Tensor image = FromVector(DType::kBF16, {kSize}, std::vector<double>(kSize, 0));
    const AdamWRange ranges[] = {{0, 64, 1e-3, 0.1}, {70, 5000, 1e-3, 0.1}, {5000, kSize, 2e-3, 0}};
    const Tensor gpu_param = ToGpu(param), gpu_m = ToGpu(m), gpu_v = ToGpu(v);
    const Tensor gpu_image = ToGpu(image);
    for (int64_t step = 1; step <= 3; ++step) {
      AdamW(CpuContext().stream, gradient, coefficient, flag, {.step = step}, {ranges, 3}, param, m,
            v, image);
      AdamW(GpuContext()->stream, ToGpu(gradient), ToGpu(coefficient), ToGpu(flag), {.step = step},
            {ranges, 3}, gpu_param, gpu_m, gpu_v, gpu_image);
    }
    ExpectMatches(gpu_param, param, 1e-6);
    ExpectMatches(gpu_m, m, 1e-6);
    ExpectMatches(gpu_v, v, 1e-6);
    ExpectMatches(gpu_image, image, 1.0 / 128);
  }
}

}  // namespace
}  // namespace lockstep::kernels
