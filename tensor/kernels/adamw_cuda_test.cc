#include "tensor/kernels/adamw.h"
#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(AdamWCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  struct Case {
    int64_t size, border;  // of the second range and the third
    int overflow;
    double factor;
  };
  for (const auto& [size, border, overflow, factor] : AndDrawn<Case>(
           {{10000, 5000, 0, 0.5}, {10000, 5000, 1, 0.5}, {10000, 5000, 0, NAN}}, [](Draw& draw) {
             const int64_t border = 70 + draw.Size(9000);
             return Case{border + draw.Size(9000), border, 0, draw.Of({1.0, 0.25})};
           })) {
    SCOPED_TRACE(testing::Message() << size << " " << border);
    Tensor gradient = Random(DType::kI64, {size}, 1, 1e13);
    const Tensor param = Random(DType::kF32, {size}, 2), m = Random(DType::kF32, {size}, 3, 0.01);
    Tensor v = Random(DType::kF32, {size}, 4, 0.01);
    for (int64_t i = 0; i < size; ++i) {
      float& square = v.view().as<float>()[i];
      square = square * square + 1e-4f;  // far from 0: rounding stays small behind the division
    }
    for (int64_t i = 64; i < 70; ++i) {  // between two ranges: zeros
      gradient.view().as<int64_t>()[i] = 0;
      for (const Tensor& x : {param, m, v}) x.view().as<float>()[i] = 0;
    }
    const Tensor coefficient = FromVector(DType::kF64, {1}, {factor});
    const Tensor flag = FromVector(DType::kI64, {1}, {static_cast<double>(overflow)});
    const Tensor image = FromVector(DType::kBF16, {size}, std::vector<double>(size, 0));
    const AdamWRange ranges[] = {
        {0, 64, 1e-3, 0.1}, {70, border, 1e-3, 0.1}, {border, size, 2e-3, 0}};
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
