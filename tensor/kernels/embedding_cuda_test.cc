#include "tensor/kernels/embedding.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(EmbeddingCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    for (const auto& [tokens, width] :
         {std::pair<int64_t, int64_t>{1, 3}, {300, 64}, {1000, 576}}) {
      std::vector<double> words;
      for (int64_t t = 0; t < tokens; ++t) words.push_back(static_cast<double>(t * t % 17));
      const Tensor ids = FromVector(DType::kI32, {tokens}, words);
      const Tensor table = Random(dtype, {17, width}, 1), dy = Random(dtype, {tokens, width}, 2);
      const Tensor y = Tensor::Empty(*CpuContext().allocator, DType::kF32, {tokens, width});
      for (const double scale : {1.0, 8.0}) {
        Embedding(CpuContext().stream, ids, As(DType::kF32, table), scale, y);
        const GpuGuarded got(dtype, {tokens, width});
        Embedding(GpuContext()->stream, ToGpu(ids), ToGpu(table), scale, got);
        ExpectMatches(got.tensor(), y, tolerance);
        for (const bool accumulate : {false, true}) {
          const Tensor dtable = Random(DType::kF32, {17, width}, 3), gpu_dtable = ToGpu(dtable);
          EmbeddingBackward(CpuContext().stream, ids, As(DType::kF32, dy), scale, accumulate,
                            dtable);
          EmbeddingBackward(GpuContext()->stream, ToGpu(ids), ToGpu(dy), scale, accumulate,
                            gpu_dtable);
          ExpectMatches(gpu_dtable, dtable, 1e-5);
        }
      }
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
