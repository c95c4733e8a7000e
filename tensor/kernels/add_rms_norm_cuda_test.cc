#include "tensor/kernels/add_rms_norm.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(AddRmsNormCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  const Context& cpu = CpuContext();
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    for (const bool post : {false, true}) {
      for (const auto& [rows, width] :
           {std::pair<int64_t, int64_t>{1, 3}, {33, 576}, {100, 4096}}) {
        const RmsNormOptions options = {1e-5, post ? NormForm::kGemma : NormForm::kLlama};
        const Tensor residual = Random(dtype, {rows, width}, 1);
        const Tensor branch = Random(dtype, {rows, width}, 2);
        const Tensor w = Random(dtype, {width}, 3), post_w = Random(dtype, {width}, 4);
        const Tensor sum = Tensor::Empty(*cpu.allocator, DType::kF32, {rows, width});
        const Tensor y = Tensor::Empty(*cpu.allocator, DType::kF32, {rows, width});
        const Tensor rstd = Tensor::Empty(*cpu.allocator, DType::kF32, {rows});
        const Tensor post_rstd = Tensor::Empty(*cpu.allocator, DType::kF32, {rows});
        const Tensor post_f32 = As(DType::kF32, post_w);
        AddRmsNorm(cpu.stream, As(DType::kF32, residual), As(DType::kF32, branch), {},
                   post ? post_f32.view() : View(), As(DType::kF32, w), options, sum, y, rstd,
                   post ? post_rstd.view() : View());
        const GpuGuarded gpu_sum(dtype, {rows, width}), gpu_y(dtype, {rows, width});
        const GpuGuarded gpu_rstd(DType::kF32, {rows}), gpu_post_rstd(DType::kF32, {rows});
        const Tensor gpu_post = ToGpu(post_w);
        AddRmsNorm(GpuContext()->stream, ToGpu(residual), ToGpu(branch), {},
                   post ? gpu_post.view() : View(), ToGpu(w), options, gpu_sum, gpu_y, gpu_rstd,
                   post ? gpu_post_rstd.tensor().view() : View());
        ExpectMatches(gpu_sum.tensor(), sum, tolerance);
        ExpectMatches(gpu_y.tensor(), y, tolerance);
        ExpectMatches(gpu_rstd.tensor(), rstd, tolerance);
        if (post) ExpectMatches(gpu_post_rstd.tensor(), post_rstd, tolerance);
      }
    }
  }
}

TEST(AddRmsNormCudaTest, AddsAShareOfLora) {
  SKIP_WITHOUT_GPU();
  const Context& cpu = CpuContext();
  constexpr DType kType = DType::kBF16;
  struct Case {
    int64_t rows, width, rank;
  };
  for (const auto& [rows, width, rank] :
       {Case{1, 64, 4}, {33, 576, 16}, {100, 4096, 64}, {21, 8192, 32}}) {
    const Tensor residual = Random(kType, {rows, width}, 1),
                 branch = Random(kType, {rows, width}, 2);
    const Tensor w = Random(kType, {width}, 3), h = Random(kType, {rows, rank}, 4, 0.3),
                 b = Random(kType, {width, rank}, 5, 0.5);
    const Tensor sum = Tensor::Empty(*cpu.allocator, DType::kF32, {rows, width});
    const Tensor y = Tensor::Empty(*cpu.allocator, DType::kF32, {rows, width});
    const Tensor rstd = Tensor::Empty(*cpu.allocator, DType::kF32, {rows});
    const Tensor h32 = As(DType::kF32, h), b32 = As(DType::kF32, b);
    AddRmsNorm(cpu.stream, As(DType::kF32, residual), As(DType::kF32, branch), {h32, b32, 0.5},
               View(), As(DType::kF32, w), {}, sum, y, rstd, View());
    const GpuGuarded gpu_sum(kType, {rows, width}), gpu_y(kType, {rows, width}),
        gpu_rstd(DType::kF32, {rows});
    const Tensor gpu_h = ToGpu(h), gpu_b = ToGpu(b);
    AddRmsNorm(GpuContext()->stream, ToGpu(residual), ToGpu(branch), {gpu_h, gpu_b, 0.5}, View(),
               ToGpu(w), {}, gpu_sum, gpu_y, gpu_rstd, View());
    ExpectMatches(gpu_sum.tensor(), sum, 1.0 / 128);
    ExpectMatches(gpu_y.tensor(), y, 1.0 / 64);
    ExpectMatches(gpu_rstd.tensor(), rstd, 1.0 / 128);
  }
}

}  // namespace
}  // namespace lockstep::kernels
