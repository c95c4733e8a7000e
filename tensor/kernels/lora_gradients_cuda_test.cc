#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/lora_gradients.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

struct Case {
  int64_t rows;
  std::vector<int64_t> widths, ranks;
  int64_t gap = 0;  // columns between parts that belong to none
};

// Parts side by side; every other db is added to. d and h have a column more than they need, so
// that rows are strided.
struct Operands {
  Tensor d, h, dh;
  std::vector<Tensor> b, db;

  Operands(const Case& c, DType dtype) {
    int64_t width = 8, rank = 8;
    for (size_t i = 0; i < c.widths.size(); ++i) {
      width += c.widths[i] + c.gap, rank += c.ranks[i];
      b.push_back(Random(dtype, {c.widths[i], c.ranks[i]}, 10 + i, 0.5));
      db.push_back(Random(DType::kF32, {c.widths[i], c.ranks[i]}, 20 + i));
    }
    d = Random(dtype, {c.rows, width}, 1);
    h = Random(dtype, {c.rows, rank}, 2, 0.3);
    dh = Random(dtype, {c.rows, rank}, 3);
  }
  template <typename Convert>
  Operands(const Operands& o, const Convert& convert)
      : d(convert(o.d)), h(convert(o.h)), dh(convert(o.dh)) {
    for (const Tensor& x : o.b) b.push_back(convert(x));
    for (const Tensor& x : o.db) db.push_back(convert(x));
  }

  std::vector<LoraPart> Parts(const Case& c) const {
    std::vector<LoraPart> parts;
    int64_t column = 0, first = 0;
    for (size_t i = 0; i < b.size(); ++i) {
      const int64_t end = column + c.ranks[i];
      parts.push_back({first,
                       {h.Slice(1, column, end), b[i], 0.5 + static_cast<double>(i)},
                       {dh.Slice(1, column, end), db[i], i % 2 == 1}});
      column = end;
      first += c.widths[i] + c.gap;
    }
    return parts;
  }
};

// Of any ranks and widths, or those of the kernel that takes all parts in one pass.
Case Drawn(Draw& draw) {
  Case c = {draw.Size(400), {}, {}, 8 * (draw.Size(3) - 1)};
  const bool one_pass = draw.Coin();
  const int64_t parts = draw.Size(5);
  while (std::ssize(c.ranks) < parts) {
    c.widths.push_back(one_pass ? 8 * draw.Size(100) : draw.Size(300));
    c.ranks.push_back(one_pass ? 8 * draw.Size(4) : draw.Size(200));
  }
  return c;
}

// Ranks of one step of 16 or of two, parts that end within a strip, rows that end within a tile or
// panel; then what takes the way of separate products: fp32, a rank of 4 and one of 40.
TEST(LoraGradientsCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  const Stream& gpu = GpuContext()->stream;
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    for (const Case& c : AndDrawn<Case>({{1, {8}, {8}},
                                         {33, {512}, {16}},
                                         {700, {1024, 256, 256}, {16, 16, 16}},
                                         {1000, {576, 192, 200}, {16, 8, 16}, 24},
                                         {1300, {96, 520}, {8, 8}, 8},
                                         {290, {264, 1000}, {32, 24}},
                                         {65, {256}, {4}},
                                         {40, {128, 64}, {16, 40}},
                                         {100, {64, 64, 64, 64, 64}, {16, 16, 16, 16, 16}}},
                                        Drawn)) {
      SCOPED_TRACE(testing::Message()
                   << NameOf(dtype) << " " << c.rows << "x" << testing::PrintToString(c.widths)
                   << " ranks " << testing::PrintToString(c.ranks) << " gap " << c.gap);
      const Operands o(c, dtype);
      const Operands cpu(o, [](const Tensor& x) { return As(DType::kF32, x); });
      const Operands on_gpu(o, [](const Tensor& x) { return ToGpu(x); });
      const int64_t numel = LoraGradientsScratch(c.rows, cpu.Parts(c));
      LoraGradients(CpuContext().stream, cpu.d, cpu.Parts(c),
                    Tensor::Empty(*CpuContext().allocator, DType::kF32, {numel}));
      const GpuGuarded scratch(DType::kF32, {numel});
      LoraGradients(gpu, on_gpu.d, on_gpu.Parts(c), scratch);
      // Inputs are rounded alike; sums are in f32, dh is rounded once.
      const double rounding = dtype == DType::kF32 ? 2e-5 : 1.0 / 128;
      ExpectMatches(on_gpu.dh, cpu.dh, rounding);
      for (size_t i = 0; i < cpu.db.size(); ++i) ExpectMatches(on_gpu.db[i], cpu.db[i], 2e-5);
    }
  }
}

// Whoever runs beside it, and however often: the same bits, and nothing beside the outputs.
TEST(LoraGradientsCudaTest, IsDeterministic) {
  SKIP_WITHOUT_GPU();
  const Case c = {3000, {1056, 264}, {16, 16}};
  std::vector<double> first;
  for (int round = 0; round < 3; ++round) {
    const Operands o(Operands(c, DType::kBF16), [](const Tensor& x) { return ToGpu(x); });
    const GpuGuarded dh(DType::kBF16, {c.rows, 32}), db(DType::kF32, {1056, 16}),
        scratch(DType::kF32, {LoraGradientsScratch(c.rows, o.Parts(c))});
    std::vector<LoraPart> parts = o.Parts(c);
    for (size_t i = 0; i < 2; ++i) parts[i].gradient.dh = dh.tensor().Slice(1, 16 * i, 16 * i + 16);
    parts[0].gradient.db = db;
    LoraGradients(GpuContext()->stream, o.d, parts, scratch);
    std::vector<double> all;
    for (const Tensor& x : {dh.tensor(), db.tensor(), o.db[1]}) {
      const std::vector<double> values = ToVector(ToCpu(x));
      all.insert(all.end(), values.begin(), values.end());
    }
    if (round == 0) first = all;
    EXPECT_EQ(all, first);
  }
}

}  // namespace
}  // namespace lockstep::kernels
