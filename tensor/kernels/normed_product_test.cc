#include "tensor/kernels/normed_product.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

void ExpectSums(DType dtype, NormForm form, bool accumulate, double tolerance) {
  constexpr int64_t kRows = 7, kWidth = 5, kRank = 3;
  const RmsNormOptions options = {.eps = 1e-5, .form = form};
  const Tensor x = Random(dtype, {kRows, kWidth}, 1), w = Random(dtype, {kWidth}, 2),
               g = Random(dtype, {kRows, kRank}, 3), before = Random(dtype, {kRank, kWidth}, 4);
  const Tensor y = As(dtype, x), rstd = Random(dtype, {kRows}, 5);
  RmsNorm(CpuContext().stream, x, w, options, y, rstd);
  const Guarded c(dtype, {kRank, kWidth});
  std::memcpy(c.tensor().view().data, before.view().data, before.view().num_bytes());
  const Tensor scratch = Tensor::Empty(*CpuContext().allocator, DType::kF32,
                                       {NormedProductScratch(kRows, kWidth, kRank)});
  NormedProduct(CpuContext().stream, g, {x, w, rstd, options}, c, accumulate, scratch);

  std::vector<double> want(kRank * kWidth);
  if (accumulate) want = ToVector(before);
  const std::vector<double> xs = ToVector(x), ws = ToVector(w), gs = ToVector(g);
  for (int64_t t = 0; t < kRows; ++t) {
    double squares = 0;
    for (int64_t n = 0; n < kWidth; ++n) squares += xs[t * kWidth + n] * xs[t * kWidth + n];
    const double factor = 1 / std::sqrt(squares / kWidth + options.eps);
    for (int64_t k = 0; k < kRank; ++k) {
      for (int64_t n = 0; n < kWidth; ++n) {
        const double weight = ws[n] + (form == NormForm::kGemma ? 1 : 0);
        want[k * kWidth + n] += gs[t * kRank + k] * weight * xs[t * kWidth + n] * factor;
      }
    }
  }
  ExpectNear(c, FromVector(DType::kF64, {kRank, kWidth}, want), tolerance, 10 * tolerance);
}

TEST(NormedProductTest, IsTheSums) {
  for (const NormForm form : {NormForm::kLlama, NormForm::kGemma}) {
    for (const bool accumulate : {false, true}) {
      ExpectSums(DType::kF64, form, accumulate, 1e-15);
      ExpectSums(DType::kF32, form, accumulate, 1e-6);
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
