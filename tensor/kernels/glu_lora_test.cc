#include "tensor/kernels/glu_lora.h"

#include "gtest/gtest.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

const Stream kStream{Device{DeviceType::kCPU}};

// Against the products with beta = 1 and the plain unit that it stands for.
TEST(GluLoraTest, IsTheUnitOfTheSums) {
  constexpr int64_t kRows = 5, kWidth = 12;
  for (const GluActivation activation : {GluActivation::kSilu, GluActivation::kGeluTanh}) {
    const Tensor x = Random(DType::kF64, {kRows, 2 * kWidth}, 1);
    const Tensor dy = Random(DType::kF64, {kRows, kWidth}, 2);
    const Tensor h = Random(DType::kF64, {kRows, 7}, 3), g = Random(DType::kF64, {kRows, 2}, 4);
    const Tensor b_gate = Random(DType::kF64, {kWidth, 3}, 5);
    const Tensor b_up = Random(DType::kF64, {kWidth, 4}, 6),
                 a = Random(DType::kF64, {2, kWidth}, 7);
    const LoraShare gate = {h.Slice(1, 0, 3), b_gate, 0.5}, up = {h.Slice(1, 3, 7), b_up, 2};
    const LoraShare of_dy = {g, Transposed(a), 1};

    const Tensor z = As(DType::kF64, x), d = As(DType::kF64, dy);
    Gemm(kStream, gate.h, Transposed(b_gate), z.Slice(1, 0, kWidth), {.alpha = 0.5, .beta = 1});
    Gemm(kStream, up.h, Transposed(b_up), z.Slice(1, kWidth, 2 * kWidth), {.alpha = 2, .beta = 1});
    Gemm(kStream, g, a, d, {.beta = 1});
    const Tensor want = Random(DType::kF64, {kRows, kWidth}, 8);
    Glu(kStream, z, activation, want);

    const Guarded y(DType::kF64, {kRows, kWidth});
    GluLora(kStream, x, gate, up, activation, y);
    ExpectNear(y, want, 1e-12, 1e-12);
    GluLoraBackward(kStream, dy, of_dy, x, gate, up, activation);
    ExpectNear(dy, want, 1e-12, 1e-12);
    GluBackward(kStream, d, z, activation, z);
    ExpectNear(x, z, 1e-12, 1e-12);
  }
}

TEST(GluLoraTest, WithoutSharesItIsThePlainUnit) {
  const Tensor x = Random(DType::kF32, {3, 8}, 1), want = Random(DType::kF32, {3, 4}, 2);
  const Tensor y = Random(DType::kF32, {3, 4}, 3);
  Glu(kStream, x, GluActivation::kSilu, want);
  GluLora(kStream, x, {}, {}, GluActivation::kSilu, y);
  ExpectNear(y, want, 0, 0);
}

}  // namespace
}  // namespace lockstep::kernels
