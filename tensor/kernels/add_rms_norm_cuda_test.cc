#include "tensor/kernels/add_rms_norm.h"
#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(AddRmsNormCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  const Context& cpu = CpuContext();
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    for (const bool post : {false, true}) {
      using Shape = std::pair<int64_t, int64_t>;
      for (const auto& [rows, width] : AndDrawn<Shape>(
               {{1, 3}, {19, 128}, {5, 300}, {9, 512}, {33, 576}, {100, 4096}, {3, 10240}},
               [](Draw& draw) {
                 return Shape{draw.Size(40), 15 + draw.Size(12000)};  // few elements may cancel
               })) {
        SCOPED_TRACE(testing::Message() << rows << "x" << width);
        const RmsNormOptions options = {1e-5, post ? NormForm::kGemma : NormForm::kLlama};
        const Tensor residual = Random(dtype, {rows, width}, 1);
        const Tensor branch = Random(dtype, {rows, width}, 2);
        const Tensor w = Random(dtype, {width}, 3), post_w = Random(dtype, {width}, 4);
        const Tensor sum = Tensor::Empty(*cpu.allocator, DType::kF32, {rows, width});
        const Tensor y = Tensor::Empty(*cpu.allocator, DType::kF32, {rows, width});
        const Tensor rstd = Tensor::Empty(*cpu.allocator, DType::kF32, {rows});
        const Tensor post_rstd = Tensor::Empty(*cpu.allocator, DType::kF32, {rows});
        const Tensor post_f32 = As(DType::kF32, post_w);
        AddRmsNorm(cpu.stream, As(DType::kF32, residual), As(DType::kF32, branch),
                   post ? post_f32.view() : View(), As(DType::kF32, w), options, sum, y, rstd,
                   post ? post_rstd.view() : View());
        const GpuGuarded gpu_sum(dtype, {rows, width}), gpu_y(dtype, {rows, width});
        const GpuGuarded gpu_rstd(DType::kF32, {rows}), gpu_post_rstd(DType::kF32, {rows});
        const Tensor gpu_post = ToGpu(post_w);
        AddRmsNorm(GpuContext()->stream, ToGpu(residual), ToGpu(branch),
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

TEST(AddRmsNormCudaTest, JoinsTheResidualInPlace) {
  SKIP_WITHOUT_GPU();
  const Stream& stream = GpuContext()->stream;
  const Tensor residual = Random(DType::kBF16, {37, 2048}, 1),
               w = ToGpu(Random(DType::kBF16, {2048}, 2));
  const Tensor branch = ToGpu(Random(DType::kBF16, {37, 2048}, 3));
  const Tensor in_place = ToGpu(residual);
  const GpuGuarded sum(DType::kBF16, {37, 2048}), y(DType::kBF16, {37, 2048}),
      again(DType::kBF16, {37, 2048});
  AddRmsNorm(stream, ToGpu(residual), branch, View(), w, {}, sum, y, View(), View());
  AddRmsNorm(stream, in_place, branch, View(), w, {}, in_place, again, View(), View());
  EXPECT_EQ(ToVector(ToCpu(in_place)), ToVector(ToCpu(sum.tensor())));
  EXPECT_EQ(ToVector(ToCpu(again.tensor())), ToVector(ToCpu(y.tensor())));
}

}  // namespace
}  // namespace lockstep::kernels
