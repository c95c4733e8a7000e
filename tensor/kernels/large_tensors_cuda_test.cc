// Tensors of more than 2³¹ elements, as gate and up of a large model have them for long documents:
// the rows behind the border come out as they do alone, products with them up to the order of sums.
// 9 GiB of device memory.
#include "tensor/kernels/fill.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/glu.h"
#include "tensor/kernels/glu_lora.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

constexpr int64_t kRows = 37600, kLast = 96, kWidth = 28672, kRank = 16;
static_assert((kRows - kLast) * 2 * kWidth > int64_t{1} << 31);

Tensor Empty(DType dtype, std::initializer_list<int64_t> shape) {
  return Tensor::Empty(*GpuContext()->allocator, dtype, shape);
}

View LastRows(const Tensor& x) { return x.view().Slice(0, kRows - kLast, kRows); }

// The last rows of `x`, on the CPU.
std::vector<double> LastValues(const Tensor& x) {
  const Tensor copy = Tensor::Empty(*CpuContext().allocator, x.dtype(), {kLast, x.dim(1)});
  CopyToHost(GpuContext()->stream, LastRows(x), copy.view().data);
  return ToVector(copy);
}

// [kRows, columns], of which the last rows are `last` and the others a constant.
Tensor EndingWith(const Tensor& last) {
  const Tensor x = Empty(last.dtype(), {kRows, last.dim(1)});
  Fill(GpuContext()->stream, x, 0.25);
  CopyToDevice(GpuContext()->stream, last.view().data, LastRows(x));
  return x;
}

TEST(LongTensorsCudaTest, Glu) {
  SKIP_WITHOUT_GPU();
  const Stream& stream = GpuContext()->stream;
  const Tensor last_x = Random(DType::kBF16, {kLast, 2 * kWidth}, 1),
               last_dy = Random(DType::kBF16, {kLast, kWidth}, 2);
  const Tensor x = EndingWith(last_x), alone_x = ToGpu(last_x), dy = EndingWith(last_dy),
               alone_dy = ToGpu(last_dy);
  const Tensor y = Empty(DType::kBF16, {kRows, kWidth}),
               alone_y = Empty(DType::kBF16, {kLast, kWidth});
  Glu(stream, x, GluActivation::kSilu, y);
  Glu(stream, alone_x, GluActivation::kSilu, alone_y);
  EXPECT_EQ(LastValues(y), ToVector(ToCpu(alone_y)));
  GluBackward(stream, dy, x, GluActivation::kSilu, x);
  GluBackward(stream, alone_dy, alone_x, GluActivation::kSilu, alone_x);
  EXPECT_EQ(LastValues(x), ToVector(ToCpu(alone_x)));
}

// y, next.h; dz and gate's dh.
std::vector<Tensor> RunGluLora(const Tensor& x, const Tensor& dy, const Tensor& h,
                               const Tensor& b) {
  const Stream& stream = GpuContext()->stream;
  const int64_t rows = x.dim(0);
  const Tensor y = Empty(DType::kBF16, {rows, kWidth}), next = Empty(DType::kBF16, {rows, kRank}),
               dh = Empty(DType::kBF16, {rows, kRank}),
               scratch = Empty(DType::kF32, {GluLoraScratch(rows, kWidth, kRank)});
  const LoraShare gate = {h, b, 0.5};
  const Tensor a = ToGpu(Random(DType::kBF16, {kRank, kWidth}, 6));
  GluLoraGradients gradients;
  gradients.gate.dh = dh;
  GluLora(stream, x, gate, {}, GluActivation::kSilu, {}, y, {next, Transposed(a)}, scratch);
  GluLoraBackward(stream, dy, {h, Transposed(a), 1}, x, gate, {}, GluActivation::kSilu, {},
                  gradients, scratch);
  return {y, next, x, dh};
}

TEST(LongTensorsCudaTest, GluLora) {
  SKIP_WITHOUT_GPU();
  const Tensor x = Random(DType::kBF16, {kLast, 2 * kWidth}, 1),
               dy = Random(DType::kBF16, {kLast, kWidth}, 2),
               h = Random(DType::kBF16, {kLast, kRank}, 3, 0.3),
               b = ToGpu(Random(DType::kBF16, {kWidth, kRank}, 4, 0.5));
  const std::vector<Tensor> all = RunGluLora(EndingWith(x), EndingWith(dy), EndingWith(h), b),
                            alone = RunGluLora(ToGpu(x), ToGpu(dy), ToGpu(h), b);
  for (const int i : {0, 2}) EXPECT_EQ(LastValues(all[i]), ToVector(ToCpu(alone[i]))) << i;
  // Sums over the columns: where products come one by one, how they are cut depends on the rows.
  for (const int i : {1, 3}) {
    const Tensor got = FromVector(DType::kBF16, {kLast, kRank}, LastValues(all[i]));
    ExpectMatches(alone[i], got, 1.0 / 128);
  }
}

TEST(LongTensorsCudaTest, Gemm) {
  SKIP_WITHOUT_GPU();
  const Stream& stream = GpuContext()->stream;
  const Tensor last = Random(DType::kBF16, {kLast, kRank}, 1),
               b = ToGpu(Random(DType::kBF16, {kRank, 2 * kWidth}, 2));
  const Tensor c = Empty(DType::kBF16, {kRows, 2 * kWidth}),
               alone = Empty(DType::kBF16, {kLast, 2 * kWidth});
  Gemm(stream, EndingWith(last), b, c);
  Gemm(stream, ToGpu(last), b, alone);
  const Tensor got = FromVector(DType::kF32, {kLast, 2 * kWidth}, LastValues(c));
  ExpectMatches(alone, got, 1.0 / 256);
}

}  // namespace
}  // namespace lockstep::kernels
