#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/rope_lora.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

// Shares of one to four steps of 16 ranks or none, heads that are not whole groups of a block, rows
// that end within a tile; the same bits each time, nothing beside x.
TEST(RopeLoraCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  constexpr int64_t kDim = 128;
  struct Case {
    int64_t rows, q, kv, r_q, r_k, r_v;
  };
  for (const Case& c : AndDrawn<Case>({{1, 1, 1, 16, 16, 16},
                                       {67, 32, 8, 16, 16, 16},
                                       {40, 5, 2, 8, 0, 4},
                                       {33, 9, 3, 32, 16, 20},
                                       {70, 12, 4, 64, 40, 8},
                                       {20, 3, 1, 0, 0, 0}},
                                      [](Draw& draw) {
                                        const auto rank = [&] { return 4 * (draw.Size(17) - 1); };
                                        return Case{draw.Size(100), draw.Size(20), draw.Size(8),
                                                    rank(),         rank(),        rank()};
                                      })) {
    SCOPED_TRACE(testing::Message() << c.rows << " rows, " << c.q << "/" << c.kv << " heads, ranks "
                                    << c.r_q << " " << c.r_k << " " << c.r_v);
    const int64_t heads = c.q + 2 * c.kv;
    const Tensor x = Random(DType::kBF16, {c.rows, heads, kDim}, 1),
                 table = Random(DType::kF32, {c.rows, kDim / 2, 2}, 2),
                 h = Random(DType::kBF16, {c.rows, c.r_q + c.r_k + c.r_v + 4}, 3, 0.3);
    const Tensor b_q = Random(DType::kBF16, {c.q * kDim, c.r_q}, 4),
                 b_k = Random(DType::kBF16, {c.kv * kDim, c.r_k}, 5),
                 b_v = Random(DType::kBF16, {c.kv * kDim, c.r_v}, 6);
    const auto run = [&](const Stream& stream, const View& to, const auto& convert) {
      const Tensor of_h = convert(h), q = convert(b_q), k = convert(b_k), v = convert(b_v);
      const auto share = [&](const Tensor& b, int64_t column) {
        return b.dim(1) == 0 ? LoraShare{}
                             : LoraShare{of_h.Slice(1, column, column + b.dim(1)), b, 0.75};
      };
      RopeLora(stream, to,
               {{c.q, share(q, 0)}, {c.kv, share(k, c.r_q)}, {c.kv, share(v, c.r_q + c.r_k)}},
               c.q + c.kv, stream.device.type == DeviceType::kCPU ? table : ToGpu(table));
      if (stream.device.type != DeviceType::kCPU) Synchronize(stream);
    };
    const Tensor want = As(DType::kF32, x);
    run(CpuContext().stream, want, [](const Tensor& t) { return As(DType::kF32, t); });
    std::vector<double> first;
    for (int round = 0; round < 2; ++round) {
      const GpuGuarded got(DType::kBF16, {c.rows, heads, kDim});
      CopyToDevice(GpuContext()->stream, x.view().data, got.tensor());
      run(GpuContext()->stream, got, [](const Tensor& t) { return ToGpu(t); });
      ExpectMatches(got.tensor(), want, 1.0 / 128);
      const std::vector<double> values = ToVector(ToCpu(got.tensor()));
      if (round == 0) first = values;
      EXPECT_EQ(values, first);
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
