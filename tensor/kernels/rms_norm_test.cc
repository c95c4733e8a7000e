#include "tensor/kernels/rms_norm.h"

#include "base/thread_pool.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

const Stream kStream = CpuContext().stream;

double Gain(double w, NormForm form) { return form == NormForm::kGemma ? 1 + w : w; }

// The equations of the header, in double. x, y: rows of w.size() elements.
std::vector<double> Formula(const std::vector<double>& x, const std::vector<double>& w,
                            const RmsNormOptions& options) {
  const size_t width = w.size();
  std::vector<double> y(x.size());
  for (size_t row = 0; row < x.size() / width; ++row) {
    double sum = 0;
    for (size_t c = 0; c < width; ++c) sum += x[row * width + c] * x[row * width + c];
    for (size_t c = 0; c < width; ++c) {
      y[row * width + c] = Gain(w[c], options.form) * x[row * width + c] /
                           std::sqrt(sum / static_cast<double>(width) + options.eps);
    }
  }
  return y;
}

TEST(RmsNormTest, FollowsItsFormulaAtBoundarySizes) {
  for (const NormForm form : {NormForm::kLlama, NormForm::kGemma}) {
    for (const DType dtype : {DType::kF32, DType::kF64}) {
      for (const int64_t tokens : {1, 31, 33, 200}) {
        for (const int64_t width : {1, 15, 16, 65}) {
          const RmsNormOptions options = {.eps = 1e-5, .form = form};
          const Tensor x = Random(dtype, {tokens, width}, 1), w = Random(dtype, {width}, 2);
          const Guarded y(dtype, {tokens, width}), rstd(dtype, {tokens});
          RmsNorm(kStream, x, w, options, y, rstd);
          const Tensor want =
              FromVector(DType::kF64, {tokens, width}, Formula(ToVector(x), ToVector(w), options));
          ExpectNear(y, want, dtype == DType::kF32 ? 4e-7 : 1e-15, 0);
        }
      }
    }
  }
}

TEST(RmsNormTest, NormsHeadsOfASliceInPlace) {
  const Tensor merged = Random(DType::kF64, {5, 4 * 8}, 3), w = Random(DType::kF64, {8}, 4);
  const std::vector<double> before = ToVector(merged);
  View heads = merged.view().Slice(1, 8, 24);  // heads 1 and 2 of 4
  heads.rank = 3, heads.shape[1] = 2, heads.shape[2] = 8, heads.stride[1] = 8, heads.stride[2] = 1;
  const std::vector<double> want = Formula(ToVector(heads), ToVector(w), {});
  RmsNorm(kStream, heads, w, {}, heads, View{});
  ExpectNear(heads, FromVector(DType::kF64, {10, 8}, want), 1e-14, 0);
  const std::vector<double> after = ToVector(merged);
  for (int64_t i = 0; i < 5 * 32; ++i) {
    const bool inside = i % 32 >= 8 && i % 32 < 24;
    EXPECT_EQ(after[i] != before[i], inside) << "element " << i;
  }
}

struct Gradient {
  Tensor dx, dw;
};

Gradient Backward(const Tensor& dy, const Tensor& x, const Tensor& w, const View& addend,
                  bool accumulate, double dw_before) {
  const int64_t tokens = x.dim(0), width = x.dim(1);
  const Tensor y = Random(x.dtype(), {tokens, width}, 9), rstd = Random(x.dtype(), {tokens}, 9);
  RmsNorm(kStream, x, w, {}, y, rstd);
  Gradient g = {Random(x.dtype(), {tokens, width}, 9),
                FromVector(x.dtype(), {width}, std::vector<double>(width, dw_before))};
  const Tensor partials = Random(x.dtype(), {RmsNormPartials(tokens, width), width}, 9);
  RmsNormBackward(kStream, dy, x, w, rstd, {}, addend, g.dx, g.dw, accumulate, partials);
  return g;
}

TEST(RmsNormTest, AgainHasTheSameBits) {
  const Tensor x = Random(DType::kF32, {70, 24}, 1), w = Random(DType::kF32, {24}, 2);
  const Guarded y(DType::kF32, {70, 24}), again(DType::kF32, {70, 24}), rstd(DType::kF32, {70});
  for (const NormForm form : {NormForm::kLlama, NormForm::kGemma}) {
    RmsNorm(kStream, x, w, {1e-5, form}, y, rstd);
    RmsNormAgain(kStream, x, w, rstd, {1e-5, form}, again);
    EXPECT_EQ(ToVector(again), ToVector(y));
  }
}

TEST(RmsNormTest, WeightGradientOverwritesOrAccumulates) {
  const Tensor x = Random(DType::kF64, {100, 7}, 1), w = Random(DType::kF64, {7}, 2),
               dy = Random(DType::kF64, {100, 7}, 3);
  const std::vector<double> fresh = ToVector(Backward(dy, x, w, View{}, false, 1e9).dw);
  const std::vector<double> added = ToVector(Backward(dy, x, w, View{}, true, 0.5).dw);
  for (int c = 0; c < 7; ++c) EXPECT_NEAR(added[c], fresh[c] + 0.5, 1e-12);
}

TEST(RmsNormTest, AddsTheResidualGradient) {
  const Tensor x = Random(DType::kF64, {9, 7}, 1), w = Random(DType::kF64, {7}, 2),
               dy = Random(DType::kF64, {9, 7}, 3), addend = Random(DType::kF64, {9, 7}, 4);
  const std::vector<double> without = ToVector(Backward(dy, x, w, View{}, false, 0).dx),
                            with = ToVector(Backward(dy, x, w, addend, false, 0).dx),
                            a = ToVector(addend);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(with[i], without[i] + a[i], 1e-13);
}

TEST(RmsNormTest, BitsDoNotDependOnThreads) {
  const Tensor x = Random(DType::kF32, {300, 33}, 1), w = Random(DType::kF32, {33}, 2),
               dy = Random(DType::kF32, {300, 33}, 3);
  SetNumThreads(1);
  const Gradient one = Backward(dy, x, w, View{}, false, 0);
  SetNumThreads(4);
  const Gradient four = Backward(dy, x, w, View{}, false, 0);
  EXPECT_EQ(ToVector(one.dx), ToVector(four.dx));
  EXPECT_EQ(ToVector(one.dw), ToVector(four.dw));
}

TEST(RmsNormDeathTest, RefusesMisshapenArguments) {
  const Tensor x = Random(DType::kF32, {3, 8}, 1), w = Random(DType::kF32, {7}, 2);
  EXPECT_DEATH(RmsNorm(kStream, x, w, {}, x, View{}),
               "\\[rms_norm\\] weight: want shape \\[8\\], got f32\\[7\\]");
  EXPECT_DEATH(RmsNorm(kStream, x, Random(DType::kF64, {8}, 2), {}, x, View{}), "want f32");
}

}  // namespace
}  // namespace lockstep::kernels
