#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/rope.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

View Heads(const Tensor& x, int64_t count, int64_t dim) {
  View view = x.view().Slice(1, 0, count * dim);
  view.rank = 3;
  view.shape[1] = count, view.shape[2] = dim;
  view.stride[1] = dim, view.stride[2] = 1;
  return view;
}

TEST(RopeCudaTest, MatchesTheCpuThereAndBack) {
  SKIP_WITHOUT_GPU();
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    struct Case {
      int64_t pairs, dim, heads;
    };
    for (const auto& [pairs, dim, heads] :
         AndDrawn<Case>({{4, 8, 5}, {24, 64, 5}, {64, 128, 5}}, [](Draw& draw) {
           const int64_t pairs = draw.Size(130);
           return Case{pairs, 2 * pairs + draw.Size(64) - 1, draw.Size(20)};
         })) {
      SCOPED_TRACE(testing::Message() << heads << " heads of " << dim << ", " << pairs << " pairs");
      constexpr int64_t kTokens = 37;
      std::vector<double> positions, frequencies, rows;
      for (int64_t t = 0; t < kTokens; ++t) {
        positions.push_back(static_cast<double>(t * 977 % 5000));
        rows.push_back(static_cast<double>(t % 2));
      }
      for (int64_t i = 0; i < 2 * pairs; ++i) {
        frequencies.push_back(std::pow(10000.0, -static_cast<double>(i % pairs) / pairs) /
                              (1 + i / pairs));
      }
      const Tensor position = FromVector(DType::kI32, {kTokens}, positions);
      const Tensor row = FromVector(DType::kI32, {kTokens}, rows);
      const Tensor inv_freq = FromVector(DType::kF32, {2, pairs}, frequencies);
      const Tensor table = Tensor::Empty(*CpuContext().allocator, DType::kF32, {kTokens, pairs, 2});
      RopeTable(CpuContext().stream, position, inv_freq, row, 1.25, table);
      const GpuGuarded gpu_table(DType::kF32, {kTokens, pairs, 2});
      RopeTable(GpuContext()->stream, ToGpu(position), ToGpu(inv_freq), ToGpu(row), 1.25,
                gpu_table);
      ExpectMatches(gpu_table.tensor(), table, 1e-6);

      const Tensor qkv = Random(dtype, {kTokens, (heads + 1) * dim}, 5);
      for (const int direction : {1, -1}) {
        const Tensor want = As(DType::kF32, qkv), got = ToGpu(qkv);
        Rope(CpuContext().stream, Heads(want, heads, dim), table, direction);
        Rope(GpuContext()->stream, Heads(got, heads, dim), gpu_table, direction);
        ExpectMatches(got, want, tolerance);
      }
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
