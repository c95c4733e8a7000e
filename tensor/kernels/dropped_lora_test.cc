#include "tensor/kernels/dropped_lora.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

constexpr int64_t kRows = 5, kWidth = 70;
constexpr double kDropped = 0.25;

// Two adapters, of ranks 2 and 3, with their h side by side.
struct Operands {
  Tensor x, h, a0, a1, da0, da1, bits0, bits1;

  explicit Operands(DType dtype)
      : x(Random(dtype, {kRows, kWidth}, 1)),
        h(Random(dtype, {kRows, 5}, 2)),
        a0(Random(dtype, {2, kWidth}, 3)),
        a1(Random(dtype, {3, kWidth}, 4)),
        da0(Random(dtype, {2, kWidth}, 5)),
        da1(Random(dtype, {3, kWidth}, 6)),
        bits0(Bits(7)),
        bits1(Bits(8)) {}
  static Tensor Bits(uint64_t key) {
    const Tensor bits =
        Tensor::Empty(*CpuContext().allocator, DType::kU8, {kRows, DropoutMaskBytes(kWidth)});
    const Tensor tokens = FromVector(DType::kI64, {kRows}, {3, 1, 4, 1e9, 5});
    DrawDropout(CpuContext().stream, tokens, key, {bits, kDropped});
    return bits;
  }
  std::vector<DroppedPart> Parts() const {
    return {{a0, h.Slice(1, 0, 2), {bits0, kDropped}, da0, false},
            {a1, h.Slice(1, 2, 5), {bits1, kDropped}, da1, true}};
  }
};

double Factor(const DroppedPart& part, int64_t t, int64_t c) {
  const uint8_t* row = part.mask.bits.as<uint8_t>() + t * DropoutMaskBytes(kWidth);
  return (row[DropoutByte(c)] >> DropoutBit(c) & 1) / (1 - kDropped);
}

void ExpectSums(DType dtype, double tolerance) {
  const Operands o(dtype);
  const Stream stream = CpuContext().stream;
  const std::vector<DroppedPart> parts = o.Parts();
  const std::vector<double> x = ToVector(o.x), g = ToVector(o.h);
  std::vector<double> want_dx(kRows * kWidth), want_h(kRows * 5);
  int64_t column = 0;
  for (const DroppedPart& part : parts) {
    const int64_t rank = part.a.shape[0];
    const std::vector<double> a = ToVector(part.a);
    std::vector<double> want_da(rank * kWidth);
    if (part.accumulate) want_da = ToVector(part.da);
    for (int64_t t = 0; t < kRows; ++t) {
      for (int64_t c = 0; c < kWidth; ++c) {
        for (int64_t k = 0; k < rank; ++k) {
          const double factor = Factor(part, t, c), of_h = g[t * 5 + column + k];
          want_h[t * 5 + column + k] += factor * x[t * kWidth + c] * a[k * kWidth + c];
          want_dx[t * kWidth + c] += factor * of_h * a[k * kWidth + c];
          want_da[k * kWidth + c] += factor * of_h * x[t * kWidth + c];
        }
      }
    }
    const Tensor scratch = Tensor::Empty(*CpuContext().allocator, DType::kF32,
                                         {DroppedGradientsScratch(kRows, kWidth)});
    DroppedGradients(stream, {.x = o.x}, {part}, scratch);
    ExpectNear(part.da, FromVector(DType::kF64, {rank, kWidth}, want_da), tolerance, tolerance);
    column += rank;
  }
  for (const bool accumulate : {false, true}) {
    const Guarded dx(dtype, {kRows, kWidth});
    std::vector<double> want = want_dx;
    if (accumulate) {
      std::memcpy(dx.tensor().view().data, o.x.view().data, o.x.view().num_bytes());
      for (int64_t i = 0; i < kRows * kWidth; ++i) want[i] += x[i];
    }
    DroppedShares(stream, parts, accumulate, dx);
    ExpectNear(dx, FromVector(DType::kF64, {kRows, kWidth}, want), tolerance, tolerance);
  }
  DroppedInputs(stream, o.x, parts);
  ExpectNear(o.h, FromVector(DType::kF64, {kRows, 5}, want_h), tolerance, 10 * tolerance);
}

TEST(DroppedLoraTest, IsTheSums) {
  ExpectSums(DType::kF64, 1e-14);
  ExpectSums(DType::kF32, 1e-5);
}

// dA from a norm's input is that of the norm's output.
TEST(DroppedLoraTest, ReadsANorm) {
  const Operands o(DType::kF64), normed(DType::kF64);
  const Stream stream = CpuContext().stream;
  const Tensor w = Random(DType::kF64, {kWidth}, 9), rstd = Random(DType::kF64, {kRows}, 10),
               scratch = Tensor::Empty(*CpuContext().allocator, DType::kF32,
                                       {DroppedGradientsScratch(kRows, kWidth)});
  const RmsNormOptions options = {.eps = 1e-5};
  RmsNorm(stream, o.x, w, options, normed.x, rstd);
  DroppedGradients(stream, {o.x, w, rstd, options}, o.Parts(), scratch);
  DroppedGradients(stream, {.x = normed.x}, normed.Parts(), scratch);
  ExpectNear(o.da0, normed.da0, 1e-14, 1e-14);
  ExpectNear(o.da1, normed.da1, 1e-14, 1e-14);
}

}  // namespace
}  // namespace lockstep::kernels
