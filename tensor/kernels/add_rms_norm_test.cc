#include "tensor/kernels/add_rms_norm.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

const Stream kStream = CpuContext().stream;

TEST(AddRmsNormTest, IsASumAndItsNorm) {
  for (const int64_t tokens : {1, 33, 70}) {
    const Tensor r = Random(DType::kF32, {tokens, 24}, 1), b = Random(DType::kF32, {tokens, 24}, 2),
                 w = Random(DType::kF32, {24}, 3);
    const Guarded sum(DType::kF32, {tokens, 24}), y(DType::kF32, {tokens, 24}),
        rstd(DType::kF32, {tokens});
    AddRmsNorm(kStream, r, b, View{}, w, {}, sum, y, rstd, View{});
    const std::vector<double> got = ToVector(sum), rs = ToVector(r), bs = ToVector(b);
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i], static_cast<float>(rs[i]) + static_cast<float>(bs[i]));
    }
    const Tensor want = Random(DType::kF32, {tokens, 24}, 9),
                 want_rstd = Random(DType::kF32, {tokens}, 9);
    RmsNorm(kStream, sum, w, {}, want, want_rstd);
    EXPECT_EQ(ToVector(y), ToVector(want));
    EXPECT_EQ(ToVector(rstd), ToVector(want_rstd));
  }
}

TEST(AddRmsNormTest, NormsTheBranchFirstWhereAPostNormIsGiven) {
  const RmsNormOptions gemma = {.eps = 1e-6, .form = NormForm::kGemma};
  const Tensor r = Random(DType::kF64, {5, 24}, 1), b = Random(DType::kF64, {5, 24}, 2),
               w = Random(DType::kF64, {24}, 3), post = Random(DType::kF64, {24}, 4);
  const Guarded sum(DType::kF64, {5, 24}), y(DType::kF64, {5, 24}), rstd(DType::kF64, {5}),
      post_rstd(DType::kF64, {5});
  AddRmsNorm(kStream, r, b, post, w, gemma, sum, y, rstd, post_rstd);
  const Tensor normed = Random(DType::kF64, {5, 24}, 9), want = Random(DType::kF64, {5, 24}, 9);
  const Tensor want_post_rstd = Random(DType::kF64, {5}, 9);
  RmsNorm(kStream, b, post, gemma, normed, want_post_rstd);
  const std::vector<double> got = ToVector(sum), rs = ToVector(r), ns = ToVector(normed);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], rs[i] + ns[i]);
  RmsNorm(kStream, sum, w, gemma, want, View{});
  EXPECT_EQ(ToVector(y), ToVector(want));
  EXPECT_EQ(ToVector(post_rstd), ToVector(want_post_rstd));
}

TEST(AddRmsNormTest, TheSumMayReplaceTheResidual) {
  const Tensor r = FromVector(DType::kF64, {1, 2}, {1, 2}),
               b = FromVector(DType::kF64, {1, 2}, {3, 4}),
               w = FromVector(DType::kF64, {2}, {1, 1}), y = Random(DType::kF64, {1, 2}, 9);
  AddRmsNorm(kStream, r, b, View{}, w, {.eps = 0}, r, y, View{}, View{});
  EXPECT_EQ(ToVector(r), (std::vector<double>{4, 6}));
  ExpectNear(y, FromVector(DType::kF64, {1, 2}, {4 / std::sqrt(26), 6 / std::sqrt(26)}), 1e-15, 0);
}

TEST(AddRmsNormDeathTest, NamesWhatIsMisshapen) {
  const Tensor r = Random(DType::kF32, {2, 4}, 1), b = Random(DType::kF32, {3, 4}, 1),
               w = Random(DType::kF32, {4}, 1);
  EXPECT_DEATH(AddRmsNorm(kStream, r, b, View{}, w, {}, r, r, View{}, View{}),
               "\\[add_rms_norm\\] branch: want shape \\[2, 4\\], got f32\\[3, 4\\]");
}

}  // namespace
}  // namespace lockstep::kernels
