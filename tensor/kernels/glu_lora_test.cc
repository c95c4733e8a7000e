#include "tensor/kernels/glu_lora.h"

#include "gtest/gtest.h"
#include "tensor/kernels/accumulate.h"
#include "tensor/kernels/dropout.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

const Stream kStream{Device{DeviceType::kCPU}};

Tensor Scratch(int64_t rows, int64_t width) {
  return Tensor::Empty(*CpuContext().allocator, DType::kF32, {GluLoraScratch(rows, width, 4)});
}

// Against the products with beta = 1 and the plain unit that it stands for. SiLU without dropout,
// GELU with it.
TEST(GluLoraTest, IsTheUnitOfTheSums) {
  constexpr int64_t kRows = 5, kWidth = 12;
  const Tensor tokens = FromVector(DType::kI64, {kRows}, {1, 2, 3, 4, 5});
  const Tensor bits =
      Tensor::Empty(*CpuContext().allocator, DType::kU8, {kRows, DropoutMaskBytes(kWidth)});
  DrawDropout(kStream, tokens, 6, {bits, 0.25});
  for (const GluActivation activation : {GluActivation::kSilu, GluActivation::kGeluTanh}) {
    const bool drops = activation == GluActivation::kGeluTanh;
    const DropoutMask mask = drops ? DropoutMask{bits, 0.25} : DropoutMask{};
    const auto drop = [&](const Tensor& t) {
      if (drops) Dropout(kStream, t, tokens, t, {.p = 0.25, .key = 6});
    };
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
    const Tensor share = Random(DType::kF64, {kRows, kWidth}, 13);
    Gemm(kStream, g, a, share);
    drop(share);
    Accumulate(kStream, share, d);
    const Tensor want = Random(DType::kF64, {kRows, kWidth}, 8);
    Glu(kStream, z, activation, want);
    const Tensor want_h = Random(DType::kF64, {kRows, 2}, 9), dropped = As(DType::kF64, want);
    drop(dropped);
    Gemm(kStream, dropped, Transposed(a), want_h);

    const Guarded y(DType::kF64, {kRows, kWidth}), next_h(DType::kF64, {kRows, 2});
    GluLora(kStream, x, gate, up, activation, mask, y, {next_h, Transposed(a)},
            Scratch(kRows, kWidth));
    ExpectNear(y, want, 1e-12, 1e-12);
    ExpectNear(next_h, want_h, 1e-12, 1e-12);

    GluBackward(kStream, d, z, activation, z);
    const Tensor dz_gate = z.Slice(1, 0, kWidth), dz_up = z.Slice(1, kWidth, 2 * kWidth);
    const Tensor want_dh = Random(DType::kF64, {kRows, 7}, 10);
    Gemm(kStream, dz_gate, b_gate, want_dh.Slice(1, 0, 3), {.alpha = 0.5});
    Gemm(kStream, dz_up, b_up, want_dh.Slice(1, 3, 7), {.alpha = 2});
    const Tensor db_gate = Random(DType::kF64, {kWidth, 3}, 11), db_up = As(DType::kF64, b_up);
    const Tensor da = Random(DType::kF64, {2, kWidth}, 12);
    const Tensor want_db_gate = As(DType::kF64, db_gate), want_db_up = As(DType::kF64, db_up),
                 want_da = As(DType::kF64, da);
    Gemm(kStream, Transposed(dz_gate), gate.h, want_db_gate, {.alpha = 0.5, .beta = 1});
    Gemm(kStream, Transposed(dz_up), up.h, want_db_up, {.alpha = 2});
    Gemm(kStream, Transposed(g), dropped, want_da, {.beta = 1});

    const Guarded dh(DType::kF64, {kRows, 7});
    GluLoraGradients gradients;
    gradients.gate = {dh.tensor().Slice(1, 0, 3), db_gate, /*accumulate=*/true};
    gradients.up = {dh.tensor().Slice(1, 3, 7), db_up, /*accumulate=*/false};
    gradients.dy_db = Transposed(da);
    gradients.accumulate_dy_db = true;
    GluLoraBackward(kStream, dy, of_dy, x, gate, up, activation, mask, gradients,
                    Scratch(kRows, kWidth));
    ExpectNear(x, z, 1e-12, 1e-12);
    ExpectNear(dh, want_dh, 1e-12, 1e-12);
    ExpectNear(db_gate, want_db_gate, 1e-12, 1e-12);
    ExpectNear(db_up, want_db_up, 1e-12, 1e-12);
    ExpectNear(da, want_da, 1e-12, 1e-12);
  }
}

TEST(GluLoraTest, WithoutSharesItIsThePlainUnit) {
  const Tensor x = Random(DType::kF32, {3, 8}, 1), want = Random(DType::kF32, {3, 4}, 2);
  const Tensor y = Random(DType::kF32, {3, 4}, 3);
  Glu(kStream, x, GluActivation::kSilu, want);
  GluLora(kStream, x, {}, {}, GluActivation::kSilu, {}, y, {}, Scratch(3, 4));
  ExpectNear(y, want, 0, 0);
}

}  // namespace
}  // namespace lockstep::kernels
