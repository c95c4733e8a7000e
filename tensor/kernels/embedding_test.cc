#include "tensor/kernels/embedding.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

const std::vector<double> kIds = {4, 0, 4, 2, 4};

Tensor Ids(const std::vector<double>& ids) {
  return FromVector(DType::kI32, {static_cast<int64_t>(ids.size())}, ids);
}

TEST(EmbeddingTest, GathersScaledRowsOfEveryType) {
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    for (const DType stored : {dtype, DType::kBF16, DType::kF16}) {
      for (const int64_t width : {1, 63, 65}) {
        for (const double scale : {1.0, 2.5}) {
          const Tensor table = Random(stored, {5, width}, 1);
          const std::vector<double> rows = ToVector(table);
          const Guarded y(dtype, {5, width});
          Embedding(CpuContext().stream, Ids(kIds), table, scale, y);
          const std::vector<double> got = ToVector(y);
          for (int64_t t = 0; t < 5; ++t) {
            for (int64_t c = 0; c < width; ++c) {
              const double want = scale * rows[static_cast<int64_t>(kIds[t]) * width + c];
              EXPECT_NEAR(got[t * width + c], want, 1e-6) << NameOf(stored);
            }
          }
        }
      }
    }
  }
}

TEST(EmbeddingTest, CopiesRowsOfAnyType) {
  const Tensor keys = FromVector(DType::kI64, {3, 1}, {1e15 + 1, -7, 9});
  const Tensor y = FromVector(DType::kI64, {2, 1}, {0, 0});
  Embedding(CpuContext().stream, Ids({2, 0}), keys, 1, y);
  EXPECT_EQ(ToVector(y), (std::vector<double>{9, 1e15 + 1}));
}

TEST(EmbeddingTest, BackwardAddsTheRowsOfATokenInOrder) {
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    for (const int64_t width : {1, 64, 130}) {
      const Tensor dy = Random(dtype, {5, width + 1}, 1).Slice(1, 0, width);
      const std::vector<double> in = ToVector(dy);
      const Guarded dtable(dtype, {5, width});
      EmbeddingBackward(CpuContext().stream, Ids(kIds), dy, 2, false, dtable);
      EmbeddingBackward(CpuContext().stream, Ids(kIds), dy, 1, true, dtable);
      const std::vector<double> got = ToVector(dtable);
      for (int64_t v = 0; v < 5; ++v) {
        for (int64_t c = 0; c < width; ++c) {
          double want = 0;
          for (int64_t t = 0; t < 5; ++t) want += kIds[t] == v ? 3 * in[t * width + c] : 0;
          EXPECT_NEAR(got[v * width + c], want, 1e-5);
        }
      }
    }
  }
}

TEST(EmbeddingTest, NoTokens) {
  const Tensor dtable = FromVector(DType::kF32, {2, 1}, {5, 6});
  EmbeddingBackward(CpuContext().stream, Ids({}), Random(DType::kF32, {0, 1}, 1), 1, true, dtable);
  EXPECT_EQ(ToVector(dtable), (std::vector<double>{5, 6}));
  EmbeddingBackward(CpuContext().stream, Ids({}), Random(DType::kF32, {0, 1}, 1), 1, false, dtable);
  EXPECT_EQ(ToVector(dtable), (std::vector<double>{0, 0}));
}

TEST(EmbeddingDeathTest, RefusesWhatDoesNotFit) {
  const Tensor table = Random(DType::kF32, {5, 3}, 1), y = Random(DType::kF32, {1, 3}, 1);
  EXPECT_DEATH(Embedding(CpuContext().stream, Ids({5}), table, 1, y), "want one of 5 rows, got 5");
  EXPECT_DEATH(Embedding(CpuContext().stream, Ids({-1}), table, 1, y), "got -1");
  EXPECT_DEATH(Embedding(CpuContext().stream, Ids({1, 2}), table, 1, y), "want shape \\[2, 3\\]");
}

}  // namespace
}  // namespace lockstep::kernels
