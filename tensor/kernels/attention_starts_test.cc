#include "tensor/kernels/attention_starts.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels::cuda {
namespace {

TEST(AttentionStartsCudaTest, AreThoseOfACallsDocuments) {
  SKIP_WITHOUT_GPU();
  const std::vector<double> starts = {0, 5, 5, 12, 100, 130};
  const Tensor cu_seqlens = ToGpu(FromVector(DType::kI32, {6}, starts));
  constexpr int64_t kFirst = 1, kLast = 4, kCount = 300;  // beyond one block
  const GpuGuarded lengths(DType::kI32, {kCount}), got(DType::kI32, {kStartTensors, kCount + 1});
  DocumentStarts(GpuContext()->stream, cu_seqlens, kFirst, kLast, kCount, {{48, 16, 32, 4}},
                 lengths.tensor().view().as<int32_t>(), got.tensor().view().as<int32_t>());
  std::vector<double> want_lengths, want;
  for (int64_t d = kFirst; d < kFirst + kCount; ++d) {
    want_lengths.push_back(d < kLast ? starts[d + 1] - starts[d] : 0);
  }
  for (const int stride : {48, 16, 32, 4}) {
    for (int64_t d = kFirst; d <= kFirst + kCount; ++d) {
      want.push_back(starts[std::min(d, kLast)] * stride);
    }
  }
  EXPECT_EQ(ToVector(ToCpu(lengths.tensor())), want_lengths);
  EXPECT_EQ(ToVector(ToCpu(got.tensor())), want);
}

}  // namespace
}  // namespace lockstep::kernels::cuda
