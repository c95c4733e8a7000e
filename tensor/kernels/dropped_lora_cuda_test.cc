#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/dropped_lora.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

struct Case {
  int64_t rows, width;
  std::vector<int64_t> ranks;
};

// The adapters' h side by side, in rows that are longer; every other da is added to.
struct Operands {
  Tensor x, h, w, rstd;
  std::vector<Tensor> a, da, bits;

  explicit Operands(const Case& c) {
    int64_t rank = 8;
    const Tensor tokens = Random(DType::kI64, {c.rows}, 9, 1e18);
    for (size_t i = 0; i < c.ranks.size(); ++i) {
      rank += c.ranks[i];
      a.push_back(Random(DType::kBF16, {c.ranks[i], c.width}, 10 + i));
      da.push_back(Random(DType::kF32, {c.ranks[i], c.width}, 20 + i));
      bits.push_back(
          Tensor::Empty(*CpuContext().allocator, DType::kU8, {c.rows, DropoutMaskBytes(c.width)}));
      DrawDropout(CpuContext().stream, tokens, i, {bits[i], 0.3});
    }
    x = Random(DType::kBF16, {c.rows, c.width}, 1);
    h = Random(DType::kBF16, {c.rows, rank}, 2, 0.3);
    w = Random(DType::kBF16, {c.width}, 3);
    rstd = Random(DType::kF32, {c.rows}, 4);
  }
  template <typename Convert>
  Operands(const Operands& o, const Convert& convert)
      : x(convert(o.x)), h(convert(o.h)), w(convert(o.w)), rstd(convert(o.rstd)) {
    for (const Tensor& t : o.a) a.push_back(convert(t));
    for (const Tensor& t : o.da) da.push_back(convert(t));
    for (const Tensor& t : o.bits) bits.push_back(convert(t));
  }

  std::vector<DroppedPart> Parts() const {
    std::vector<DroppedPart> parts;
    int64_t column = 8;
    for (size_t i = 0; i < a.size(); ++i) {
      const int64_t end = column + a[i].dim(0);
      parts.push_back({a[i], h.Slice(1, column, end), {bits[i], 0.3}, da[i], i % 2 == 1});
      column = end;
    }
    return parts;
  }
};

Tensor ToFloats(const Tensor& x) { return x.dtype() == DType::kU8 ? x : As(DType::kF32, x); }

// One to four steps of 16 ranks, more than a launch takes, widths that end within a tile, a strip
// or the bits' last piece, rows that end within a tile or a panel.
std::vector<Case> Cases() {
  return AndDrawn<Case>({{1, 8, {8}},
                         {33, 512, {16}},
                         {700, 1032, {16, 16, 16}},
                         {130, 200, {8, 24}},
                         {65, 4096, {16, 16}},
                         {1000, 1064, {16}},
                         {300, 264, {32, 32}},
                         {97, 136, {40, 16, 8}},
                         {200, 72, {64, 64}},
                         {5000, 520, {8, 8}},
                         {64, 128, {8, 16, 8, 8}}},
                        [](Draw& draw) {
                          Case c = {draw.Size(300), 8 * draw.Size(200), {}};
                          const int64_t adapters = draw.Size(4);
                          while (std::ssize(c.ranks) < adapters)
                            c.ranks.push_back(8 * draw.Size(8));
                          return c;
                        });
}

TEST(DroppedLoraCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  const Stream &cpu_stream = CpuContext().stream, &gpu_stream = GpuContext()->stream;
  for (const Case& c : Cases()) {
    SCOPED_TRACE(testing::Message()
                 << c.rows << "x" << c.width << " ranks " << testing::PrintToString(c.ranks));
    const Operands o(c), cpu(o, ToFloats), gpu(o, ToGpu);
    const int64_t numel = DroppedGradientsScratch(c.rows, c.width);
    const Tensor cpu_scratch = Tensor::Empty(*CpuContext().allocator, DType::kF32, {numel});
    for (const bool normed : {false, true}) {
      const RmsNormOptions options = {.eps = 1e-5, .form = NormForm::kGemma};
      const auto matrix = [&](const Operands& of) {
        return normed ? NormedMatrix{of.x, of.w, of.rstd, options} : NormedMatrix{.x = of.x};
      };
      const GpuGuarded scratch(DType::kF32, {numel});
      DroppedGradients(cpu_stream, matrix(cpu), cpu.Parts(), cpu_scratch);
      DroppedGradients(gpu_stream, matrix(gpu), gpu.Parts(), scratch);
      // g·rstd is rounded to bf16.
      for (size_t i = 0; i < o.da.size(); ++i) {
        ExpectMatches(gpu.da[i], cpu.da[i], normed ? 1.0 / 256 : 2e-5);
      }
    }
    for (const bool accumulate : {false, true}) {
      const Tensor want = As(DType::kF32, o.x);
      const GpuGuarded dx(DType::kBF16, {c.rows, c.width});
      CopyToDevice(gpu_stream, o.x.view().data, dx.tensor());
      DroppedShares(cpu_stream, cpu.Parts(), accumulate, want);
      DroppedShares(gpu_stream, gpu.Parts(), accumulate, dx);
      ExpectMatches(dx.tensor(), want, 1.0 / 128);
    }
    DroppedInputs(cpu_stream, cpu.x, cpu.Parts());
    DroppedInputs(gpu_stream, gpu.x, gpu.Parts());
    ExpectMatches(gpu.h, cpu.h, 1.0 / 128);  // with 8 columns that nobody may touch
  }
}

TEST(DroppedLoraCudaTest, IsDeterministic) {
  SKIP_WITHOUT_GPU();
  const Case c = {3000, 1056, {16, 16, 16}};
  const Stream& stream = GpuContext()->stream;
  std::vector<double> first;
  for (int round = 0; round < 3; ++round) {
    const Operands o(Operands(c), ToGpu);
    const GpuGuarded scratch(DType::kF32, {DroppedGradientsScratch(c.rows, c.width)});
    DroppedGradients(stream, {.x = o.x}, o.Parts(), scratch);
    DroppedInputs(stream, o.x, o.Parts());
    DroppedShares(stream, o.Parts(), false, o.x);
    std::vector<double> all;
    for (const Tensor& t : {o.da[0], o.da[1], o.da[2], o.h, o.x}) {
      const std::vector<double> values = ToVector(ToCpu(t));
      all.insert(all.end(), values.begin(), values.end());
    }
    if (round == 0) first = all;
    EXPECT_EQ(all, first);
  }
}

}  // namespace
}  // namespace lockstep::kernels
