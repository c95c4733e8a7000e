#include "tensor/kernels/cublaslt.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels::cuda::cublaslt {
namespace {

// C [m, n] = A [m, k] Wᵀ, or A W.
Problem WideProblem(int64_t m, int64_t n, int64_t k, bool transposed) {
  return {.a_type = CUDA_R_16BF,
          .b_type = CUDA_R_16BF,
          .c_type = CUDA_R_16BF,
          .bias_type = CUDA_R_32F,
          .a_transposed = false,
          .b_transposed = transposed,
          .has_bias = false,
          .reads_c = false,
          .m = m,
          .n = n,
          .k = k,
          .a_ld = k,
          .b_ld = transposed ? k : n,
          .c_ld = n,
          .a_alignment = 256,
          .b_alignment = 256,
          .c_alignment = 256};
}

TEST(CublasLtTest, WideOutputsHaveTheFirstSuggestionsBits) {
  SKIP_WITHOUT_GPU();
  constexpr int64_t kM = 640, kN = 12288, kK = 4096;
  const Tensor a = ToGpu(Random(DType::kBF16, {kM, kK}, 1));
  const Tensor b = ToGpu(Random(DType::kBF16, {kN, kK}, 2));
  const auto stream = static_cast<cudaStream_t>(GpuContext()->stream.handle);
  for (const bool transposed : {true, false}) {
    const Product product(WideProblem(kM, kN, kK, transposed));
    const auto run = [&](const cublasLtMatmulAlgo_t& algorithm) {
      const Tensor c = Tensor::Empty(*GpuContext()->allocator, DType::kBF16, {kM, kN});
      product.Run(stream, algorithm,
                  {a.view().data, b.view().data, c.Mutable("test").data, nullptr, 1, 0});
      return ToVector(ToCpu(c));
    };
    EXPECT_TRUE(run(product.Choice()) == run(product.FirstSuggestion()));
  }
}

}  // namespace
}  // namespace lockstep::kernels::cuda::cublaslt
