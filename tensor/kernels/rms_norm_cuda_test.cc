#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/rms_norm.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

Tensor Empty(const Context& context, DType dtype, std::initializer_list<int64_t> shape) {
  return Tensor::Empty(*context.allocator, dtype, shape);
}

TEST(RmsNormCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  const Context& cpu = CpuContext();
  const Context& gpu = *GpuContext();
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    for (const NormForm form : {NormForm::kLlama, NormForm::kGemma}) {
      using Shape = std::pair<int64_t, int64_t>;
      for (const auto& [rows, width] :
           AndDrawn<Shape>({{1, 1},
                            {3, 7},
                            {5, 64},
                            {35, 128},
                            {7, 129},
                            {9, 264},
                            {3, 512},
                            {2, 520},
                            {70, 576},
                            {200, 4096},
                            {9, 5000},
                            {3, 10240}},
                           [](Draw& draw) {
                             return Shape{draw.Size(60), draw.Size(12000)};
                           })) {
        SCOPED_TRACE(testing::Message() << rows << "x" << width);
        const RmsNormOptions options = {1e-5, form};
        const Tensor x = Random(dtype, {rows, width}, 1), w = Random(dtype, {width}, 2);
        const Tensor dy = Random(dtype, {rows, width}, 3), addend = Random(dtype, {rows, width}, 4);
        const Tensor y = Empty(cpu, DType::kF32, {rows, width}),
                     rstd = Empty(cpu, DType::kF32, {rows});
        RmsNorm(cpu.stream, As(DType::kF32, x), As(DType::kF32, w), options, y, rstd);
        const GpuGuarded gpu_y(dtype, {rows, width}), gpu_rstd(DType::kF32, {rows});
        const Tensor gpu_x = ToGpu(x), gpu_w = ToGpu(w);
        RmsNorm(gpu.stream, gpu_x, gpu_w, options, gpu_y, gpu_rstd);
        ExpectMatches(gpu_y.tensor(), y, tolerance);
        ExpectMatches(gpu_rstd.tensor(), rstd, 1e-6);

        const int64_t ranges = RmsNormPartials(rows, width);
        const Tensor dx = Empty(cpu, DType::kF32, {rows, width}),
                     dw = Empty(cpu, DType::kF32, {width});
        RmsNormBackward(cpu.stream, As(DType::kF32, dy), As(DType::kF32, x), As(DType::kF32, w),
                        rstd, options, As(DType::kF32, addend), dx, dw, false,
                        Empty(cpu, DType::kF32, {ranges, width}));
        const GpuGuarded gpu_dx(dtype, {rows, width}), gpu_dw(DType::kF32, {width});
        RmsNormBackward(gpu.stream, ToGpu(dy), gpu_x, gpu_w, ToGpu(rstd), options, ToGpu(addend),
                        gpu_dx, gpu_dw, false, Empty(gpu, DType::kF32, {ranges, width}));
        ExpectMatches(gpu_dx.tensor(), dx, 2 * tolerance);
        ExpectMatches(gpu_dw.tensor(), dw, 1e-5);
      }
    }
  }
}

TEST(RmsNormCudaTest, ComputesTheNormAgainWithTheSameBits) {
  SKIP_WITHOUT_GPU();
  const Context& gpu = *GpuContext();
  for (const int64_t width : {1, 576, 4096}) {
    const Tensor x = ToGpu(Random(DType::kBF16, {40, width}, 1));
    const Tensor w = ToGpu(Random(DType::kBF16, {width}, 2));
    const GpuGuarded y(DType::kBF16, {40, width}), again(DType::kBF16, {40, width}),
        rstd(DType::kF32, {40});
    RmsNorm(gpu.stream, x, w, {}, y, rstd);
    RmsNormAgain(gpu.stream, x, w, rstd, {}, again);
    EXPECT_EQ(ToVector(ToCpu(y.tensor())), ToVector(ToCpu(again.tensor())));
  }
}

// 5 heads of 64 behind the first two of 12.
View Heads(const Tensor& x) {
  View view = x.view().Slice(1, 2 * 64, 7 * 64);
  view.rank = 3;
  view.shape[1] = 5, view.shape[2] = 64;
  view.stride[1] = 64, view.stride[2] = 1;
  return view;
}

TEST(RmsNormCudaTest, NormsHeadsOfASliceInPlace) {
  SKIP_WITHOUT_GPU();
  const Context& cpu = CpuContext();
  const Context& gpu = *GpuContext();
  const Tensor qkv = Random(DType::kBF16, {21, 12 * 64}, 1), w = Random(DType::kBF16, {64}, 2),
               dqkv = Random(DType::kBF16, {21, 12 * 64}, 3);
  const Tensor x = As(DType::kF32, qkv), y = As(DType::kF32, qkv), dx = As(DType::kF32, dqkv),
               rstd = Empty(cpu, DType::kF32, {21, 5}), w32 = As(DType::kF32, w),
               dw = Empty(cpu, DType::kF32, {64});
  const int64_t ranges = RmsNormPartials(21 * 5, 64);
  RmsNorm(cpu.stream, Heads(y), w32, {}, Heads(y), rstd);
  RmsNormBackward(cpu.stream, Heads(dx), Heads(x), w32, rstd, {}, View(), Heads(dx), dw, false,
                  Empty(cpu, DType::kF32, {ranges, 64}));
  const Tensor gpu_x = ToGpu(qkv), gpu_y = ToGpu(qkv), gpu_dx = ToGpu(dqkv), gpu_w = ToGpu(w);
  const GpuGuarded gpu_rstd(DType::kF32, {21, 5}), gpu_dw(DType::kF32, {64});
  RmsNorm(gpu.stream, Heads(gpu_y), gpu_w, {}, Heads(gpu_y), gpu_rstd);
  RmsNormBackward(gpu.stream, Heads(gpu_dx), Heads(gpu_x), gpu_w, gpu_rstd, {}, View(),
                  Heads(gpu_dx), gpu_dw, false, Empty(gpu, DType::kF32, {ranges, 64}));
  ExpectMatches(gpu_rstd.tensor(), rstd, 1e-6);
  ExpectMatches(gpu_y, y, 1.0 / 128);
  ExpectMatches(gpu_dx, dx, 1.0 / 64);
  ExpectMatches(gpu_dw.tensor(), dw, 1e-4);
}

}  // namespace
}  // namespace lockstep::kernels
