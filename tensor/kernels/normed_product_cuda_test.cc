#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/normed_product.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

// Ranks of one to four steps of 16, widths that end within a strip, no rows, rows that end within a
// tile or a panel; the same bits each time, nothing beside c.
TEST(NormedProductCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  struct Case {
    int64_t rows, width, rank;
  };
  for (const Case& c :
       AndDrawn<Case>({{0, 64, 8},
                       {1, 8, 8},
                       {33, 512, 16},
                       {1000, 1064, 16},
                       {64, 264, 32},
                       {2100, 576, 24},
                       {700, 1032, 48},
                       {99, 128, 40},
                       {310, 136, 64},
                       {5000, 512, 56}},
                      [](Draw& draw) {
                        return Case{draw.Size(2000), 8 * draw.Size(150), 8 * draw.Size(8)};
                      })) {
    for (const NormForm form : {NormForm::kLlama, NormForm::kGemma}) {
      SCOPED_TRACE(testing::Message() << c.rows << "x" << c.width << " rank " << c.rank);
      const bool accumulate = form == NormForm::kGemma;
      const RmsNormOptions options = {.eps = 1e-5, .form = form};
      const Tensor x = Random(DType::kBF16, {c.rows, c.width}, 1),
                   w = Random(DType::kBF16, {c.width}, 2), rstd = Random(DType::kF32, {c.rows}, 3),
                   g = Random(DType::kBF16, {c.rows, c.rank + 8}, 4),
                   before = Random(DType::kF32, {c.rank, c.width}, 5);
      const int64_t numel = NormedProductScratch(c.rows, c.width, c.rank);
      const Tensor want = As(DType::kF32, before);
      const Tensor cpu_g = As(DType::kF32, g);
      NormedProduct(CpuContext().stream, cpu_g.Slice(1, 8, c.rank + 8),
                    {As(DType::kF32, x), As(DType::kF32, w), rstd, options}, want, accumulate,
                    Tensor::Empty(*CpuContext().allocator, DType::kF32, {numel}));

      const Tensor gpu_x = ToGpu(x), gpu_w = ToGpu(w), gpu_rstd = ToGpu(rstd), gpu_g = ToGpu(g);
      std::vector<double> first;
      for (int round = 0; round < 2; ++round) {
        const GpuGuarded got(DType::kF32, {c.rank, c.width}), scratch(DType::kF32, {numel});
        CopyToDevice(GpuContext()->stream, before.view().data, got.tensor());
        NormedProduct(GpuContext()->stream, gpu_g.Slice(1, 8, c.rank + 8),
                      {gpu_x, gpu_w, gpu_rstd, options}, got, accumulate, scratch);
        // g·rstd is rounded to bf16.
        ExpectMatches(got.tensor(), want, 1.0 / 256);
        const std::vector<double> values = ToVector(ToCpu(got.tensor()));
        if (round == 0) first = values;
        EXPECT_EQ(values, first);
      }
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
