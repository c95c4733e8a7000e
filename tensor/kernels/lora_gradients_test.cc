#include "tensor/kernels/lora_gradients.h"

#include "tensor/kernels/gemm.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

// Against sums in double: two parts that leave columns 4 and 5 alone, one of which accumulates.
void ExpectSums(DType dtype, double tolerance) {
  constexpr int64_t kRows = 7, kWidth = 9;
  const Tensor d = Random(dtype, {kRows, kWidth}, 1), h = Random(dtype, {kRows, 5}, 2);
  const Tensor b0 = Random(dtype, {4, 2}, 3), b1 = Random(dtype, {3, 3}, 4);
  const Guarded dh(dtype, {kRows, 5}), db0(dtype, {4, 2}), db1(dtype, {3, 3});
  const Tensor before = Random(dtype, {3, 3}, 5);
  std::memcpy(db1.tensor().view().data, before.view().data, before.view().num_bytes());
  const std::vector<LoraPart> parts = {
      {0, {h.Slice(1, 0, 2), b0, 0.5}, {dh.tensor().Slice(1, 0, 2), db0, false}},
      {6, {h.Slice(1, 2, 5), b1, 2}, {dh.tensor().Slice(1, 2, 5), db1, true}}};
  const Tensor scratch =
      Tensor::Empty(*CpuContext().allocator, DType::kF32, {LoraGradientsScratch(kRows, parts)});
  LoraGradients(CpuContext().stream, d, parts, scratch);

  for (const LoraPart& part : parts) {
    const int64_t width = part.share.b.shape[0], rank = part.share.b.shape[1];
    const std::vector<double> x = ToVector(d.Slice(1, part.first, part.first + width)),
                              hs = ToVector(part.share.h), bs = ToVector(part.share.b),
                              old = ToVector(before);
    std::vector<double> want_dh(kRows * rank), want_db(width * rank);
    if (part.gradient.accumulate) want_db = old;
    for (int64_t t = 0; t < kRows; ++t) {
      for (int64_t n = 0; n < width; ++n) {
        for (int64_t k = 0; k < rank; ++k) {
          want_dh[t * rank + k] += part.share.scale * x[t * width + n] * bs[n * rank + k];
          want_db[n * rank + k] += part.share.scale * x[t * width + n] * hs[t * rank + k];
        }
      }
    }
    ExpectNear(part.gradient.dh, FromVector(DType::kF64, {kRows, rank}, want_dh), tolerance,
               4 * tolerance);
    ExpectNear(part.gradient.db, FromVector(DType::kF64, {width, rank}, want_db), tolerance,
               4 * tolerance);
  }
}

TEST(LoraGradientsTest, IsTheSums) {
  ExpectSums(DType::kF64, 1e-15);
  ExpectSums(DType::kF32, 1e-6);
}

// What is not asked for needs no factor and is left alone.
TEST(LoraGradientsTest, OneOfTheTwo) {
  const Tensor d = Random(DType::kF32, {6, 4}, 1), h = Random(DType::kF32, {6, 2}, 2),
               b = Random(DType::kF32, {4, 2}, 3);
  const Guarded dh(DType::kF32, {6, 2}), db(DType::kF32, {4, 2});
  for (const LoraPart& part :
       {LoraPart{0, {View{}, b, 1}, {dh, View{}}}, LoraPart{0, {h, View{}, 1}, {View{}, db}}}) {
    const Tensor scratch =
        Tensor::Empty(*CpuContext().allocator, DType::kF32, {LoraGradientsScratch(6, {part})});
    LoraGradients(CpuContext().stream, d, {part}, scratch);
  }
  const Tensor want_dh = As(DType::kF32, dh.tensor()), want_db = As(DType::kF32, db.tensor());
  Gemm(CpuContext().stream, d, b, want_dh);
  Gemm(CpuContext().stream, Transposed(d), h, want_db);
  ExpectNear(dh, want_dh, 0, 0);
  ExpectNear(db, want_db, 0, 0);
}

}  // namespace
}  // namespace lockstep::kernels
