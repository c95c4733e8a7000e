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
    for (const auto& [pairs, dim] : {std::pair<int64_t, int64_t>{4, 8}, {24, 64}, {64, 128}}) {
      constexpr int64_t kTokens = 37, kHeads = 5;
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

      const Tensor qkv = Random(dtype, {kTokens, (kHeads + 1) * dim}, 5);
      for (const int direction : {1, -1}) {
        const Tensor want = As(DType::kF32, qkv), got = ToGpu(qkv);
        Rope(CpuContext().stream, Heads(want, kHeads, dim), table, direction);
        Rope(GpuContext()->stream, Heads(got, kHeads, dim), gpu_table, direction);
        ExpectMatches(got, want, tolerance);
      }
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
