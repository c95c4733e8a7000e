#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/embedding.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

TEST(EmbeddingCudaTest, MatchesTheCpu) {
  SKIP_WITHOUT_GPU();
  for (const auto& [dtype, tolerance] : kCudaTypes) {
    using Shape = std::pair<int64_t, int64_t>;
    for (const auto& [tokens, width] :
         AndDrawn<Shape>({{1, 3}, {300, 64}, {1000, 576}, {31, 2304}, {31, 515}}, [](Draw& draw) {
           return Shape{draw.Size(600), draw.Size(600)};
         })) {
      SCOPED_TRACE(testing::Message() << tokens << "x" << width);
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

// A gather of any type, also of rows that are no whole words.
TEST(EmbeddingCudaTest, CopiesRowsAsTheyAre) {
  SKIP_WITHOUT_GPU();
  const Tensor ids = FromVector(DType::kI32, {4}, {2, 0, 2, 1});
  for (const DType dtype : {DType::kU8, DType::kI32, DType::kI64, DType::kBF16}) {
    for (const int64_t width :
         AndDrawn<int64_t>({1, 7, 32}, [](Draw& draw) { return draw.Size(3000); })) {
      std::vector<double> values;
      for (int64_t i = 0; i < 3 * width; ++i) values.push_back(static_cast<double>(i + 1));
      const Tensor table = FromVector(dtype, {3, width}, values);
      const Guarded want(dtype, {4, width});
      const GpuGuarded got(dtype, {4, width});
      Embedding(CpuContext().stream, ids, table, 1, want);
      Embedding(GpuContext()->stream, ToGpu(ids), ToGpu(table), 1, got);
      EXPECT_EQ(ToVector(ToCpu(got.tensor())), ToVector(want)) << NameOf(dtype) << " " << width;
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels
