#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/glu_lora.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

struct Case {
  int64_t rows, width, r_gate, r_up, r_dy;
  double p = 0;  // of dropout
};

struct Operands {
  Tensor x, dy, h, g, b_gate, b_up, a, db_gate, db_up, da, bits;
};

Tensor Bits(const Case& c) {
  const Tensor bits =
      Tensor::Empty(*CpuContext().allocator, DType::kU8, {c.rows, DropoutMaskBytes(c.width)});
  DrawDropout(CpuContext().stream, Random(DType::kI64, {c.rows}, 11, 1e18), 12, {bits, c.p});
  return bits;
}

Operands MakeOperands(const Case& c) {
  constexpr DType kType = DType::kBF16;
  return {Random(kType, {c.rows, 2 * c.width}, 1),
          Random(kType, {c.rows, c.width}, 2),
          Random(kType, {c.rows, c.r_gate + c.r_up}, 3, 0.3),
          Random(kType, {c.rows, c.r_dy}, 4, 0.3),
          Random(kType, {c.width, c.r_gate}, 5, 0.5),
          Random(kType, {c.width, c.r_up}, 6, 0.5),
          Random(kType, {c.r_dy, c.width}, 7, 0.5),
          Random(DType::kF32, {c.width, c.r_gate}, 8),
          Random(DType::kF32, {c.width, c.r_up}, 9),
          Random(DType::kF32, {c.r_dy, c.width}, 10),
          Bits(c)};
}

// Forward and backward on these operands, whose gradients are added to db_gate and da; db_up is
// overwritten. y, next_h and dh are written.
void RunBoth(const Stream& stream, const Case& c, const Operands& o, GluActivation activation,
             const View& scratch, const View& y, const View& next_h, const View& dh) {
  LoraShare gate, up, of_dy;
  LoraFactor next;
  GluLoraGradients gradients;
  if (c.r_gate > 0) {
    gate = {o.h.Slice(1, 0, c.r_gate), o.b_gate, 0.75};
    gradients.gate = {dh.Slice(1, 0, c.r_gate), o.db_gate, /*accumulate=*/true};
  }
  if (c.r_up > 0) {
    up = {o.h.Slice(1, c.r_gate, c.r_gate + c.r_up), o.b_up, 2};
    gradients.up = {dh.Slice(1, c.r_gate, c.r_gate + c.r_up), o.db_up, /*accumulate=*/false};
  }
  if (c.r_dy > 0) {
    of_dy = {o.g, Transposed(o.a), 1};
    next = {next_h, Transposed(o.a)};
    gradients.dy_db = Transposed(o.da);
    gradients.accumulate_dy_db = true;
  }
  const DropoutMask mask = c.p == 0 ? DropoutMask{} : DropoutMask{o.bits, c.p};
  GluLora(stream, o.x, gate, up, activation, mask, y, next, scratch);
  GluLoraBackward(stream, o.dy, of_dy, o.x, gate, up, activation, mask, gradients, scratch);
}

template <typename Convert>
Operands Converted(const Operands& o, const Convert& convert) {
  return {convert(o.x),      convert(o.dy),   convert(o.h),   convert(o.g),
          convert(o.b_gate), convert(o.b_up), convert(o.a),   convert(o.db_gate),
          convert(o.db_up),  convert(o.da),   convert(o.bits)};
}

// Half of the ranks are such that one kernel does it all; some shares are left out.
Case Drawn(Draw& draw) {
  const bool one_kernel = draw.Coin();
  const auto rank = [&](int64_t unit) {
    if (draw.Of({0, 1, 2, 3}) == 0) return int64_t{0};
    return one_kernel ? 8 * draw.Size(4) : unit * draw.Size(64 / unit);
  };
  const double p = draw.Of({0.0, 0.3});
  Case c = {draw.Size(300), 32 * draw.Size(40), rank(4), rank(4), rank(p > 0 ? 8 : 4), p};
  if (c.r_gate + c.r_up + c.r_dy == 0) c.r_gate = 8;
  return c;
}

// The first cases take the way of separate products, the others one kernel: of one step of 16 ranks
// or two, with strips and panels that are whole, cut off or one of many.
TEST(GluLoraCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  const Context& gpu = *GpuContext();
  for (const Case& c : AndDrawn<Case>({{17, 96, 8, 4, 0},
                                       {130, 256, 16, 32, 64},
                                       {200, 1536, 0, 40, 16},
                                       {1, 32, 16, 16, 16},
                                       {70, 544, 8, 16, 8},
                                       {1000, 1056, 16, 16, 16},
                                       {50, 1536, 0, 16, 16},
                                       {33, 96, 16, 16, 0},
                                       {40, 64, 0, 0, 8},
                                       {300, 800, 32, 24, 16},
                                       {19, 32, 32, 32, 32},
                                       {130, 256, 16, 32, 64, 0.3},
                                       {200, 1536, 0, 40, 16, 0.3},
                                       {70, 544, 8, 16, 8, 0.3},
                                       {1000, 1056, 16, 16, 16, 0.3},
                                       {33, 96, 16, 16, 0, 0.3},
                                       {40, 64, 0, 0, 8, 0.3},
                                       {300, 800, 32, 24, 16, 0.3}},
                                      Drawn)) {
    SCOPED_TRACE(testing::Message() << c.rows << "x" << c.width << " ranks " << c.r_gate << " "
                                    << c.r_up << " " << c.r_dy << " dropout " << c.p);
    const int64_t scratch = GluLoraScratch(c.rows, c.width, std::max({c.r_gate, c.r_up, c.r_dy}));
    for (const GluActivation activation : {GluActivation::kSilu, GluActivation::kGeluTanh}) {
      const Operands o = MakeOperands(c);
      const Operands cpu = Converted(
          o, [](const Tensor& t) { return t.dtype() == DType::kU8 ? t : As(DType::kF32, t); });
      const Tensor y = As(DType::kF32, o.dy), next_h = As(DType::kF32, o.g),
                   dh = As(DType::kF32, o.h);
      RunBoth(CpuContext().stream, c, cpu, activation,
              Tensor::Empty(*CpuContext().allocator, DType::kF32, {scratch}), y, next_h, dh);

      const GpuGuarded gpu_y(DType::kBF16, {c.rows, c.width}), gpu_scratch(DType::kF32, {scratch}),
          gpu_next(DType::kBF16, {c.rows, c.r_dy}),
          gpu_dh(DType::kBF16, {c.rows, c.r_gate + c.r_up});
      const Operands on_gpu = Converted(o, [](const Tensor& t) { return ToGpu(t); });
      RunBoth(gpu.stream, c, on_gpu, activation, gpu_scratch.tensor(), gpu_y.tensor(),
              gpu_next.tensor(), gpu_dh.tensor());
      // One rounding to bf16, and of what the sums read.
      constexpr double kTolerance = 1.0 / 128;
      ExpectMatches(gpu_y.tensor(), y, kTolerance);
      ExpectMatches(gpu_next.tensor(), next_h, kTolerance);
      ExpectMatches(on_gpu.x, cpu.x, kTolerance);
      ExpectMatches(gpu_dh.tensor(), dh, kTolerance);
      ExpectMatches(on_gpu.db_gate, cpu.db_gate, kTolerance);
      ExpectMatches(on_gpu.db_up, cpu.db_up, kTolerance);
      ExpectMatches(on_gpu.da, cpu.da, kTolerance);
    }
  }
}

// Whoever runs beside it, and however often: the same bits.
TEST(GluLoraCudaTest, IsDeterministic) {
  SKIP_WITHOUT_GPU();
  const Context& gpu = *GpuContext();
  const Case c = {3000, 1056, 16, 16, 16, 0.1};
  std::vector<double> first;
  for (int round = 0; round < 3; ++round) {
    const Operands o = Converted(MakeOperands(c), [](const Tensor& t) { return ToGpu(t); });
    const GpuGuarded y(DType::kBF16, {c.rows, c.width}), next(DType::kBF16, {c.rows, 16}),
        dh(DType::kBF16, {c.rows, 32}), scratch(DType::kF32, {GluLoraScratch(c.rows, c.width, 16)});
    RunBoth(gpu.stream, c, o, GluActivation::kSilu, scratch.tensor(), y.tensor(), next.tensor(),
            dh.tensor());
    std::vector<double> all;
    for (const Tensor& t :
         {y.tensor(), next.tensor(), dh.tensor(), o.x, o.db_gate, o.db_up, o.da}) {
      const std::vector<double> values = ToVector(ToCpu(t));
      all.insert(all.end(), values.begin(), values.end());
    }
    if (round == 0) first = all;
    EXPECT_EQ(all, first);
  }
}

}  // namespace
}  // namespace lockstep::kernels
