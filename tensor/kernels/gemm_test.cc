#include "tensor/kernels/gemm.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/thread_pool.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

struct Shape {
  int64_t m, n, k;
};

const Shape kShapes[] = {{1, 1, 1},    {1, 7, 5},     {5, 1, 3},    {17, 33, 9},    {16, 48, 64},
                         {129, 97, 3}, {3, 385, 130}, {200, 16, 1}, {128, 384, 48}, {64, 50, 1100}};

// The definition, element by element in double.
std::vector<double> Reference(const View& a, const View& b, const std::vector<double>& c,
                              const GemmOptions& options) {
  const std::vector<double> x = ToVector(a), y = ToVector(b);
  const std::vector<double> bias =
      options.bias.rank != 0 ? ToVector(options.bias) : std::vector<double>(b.shape[1], 0.0);
  std::vector<double> out(a.shape[0] * b.shape[1]);
  for (int64_t i = 0; i < a.shape[0]; ++i) {
    for (int64_t j = 0; j < b.shape[1]; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < a.shape[1]; ++k) {
        sum += x[i * a.shape[1] + k] * y[k * b.shape[1] + j];
      }
      double& element = out[i * b.shape[1] + j];
      element = options.alpha * sum + bias[j];
      if (options.beta != 0) element += options.beta * c[i * b.shape[1] + j];
    }
  }
  return out;
}

// A matrix of this shape, stored transposed if `transposed`, inside wider rows.
Tensor Matrix(DType dtype, int64_t rows, int64_t columns, bool transposed, uint32_t seed) {
  const int64_t r = transposed ? columns : rows, c = transposed ? rows : columns;
  const Tensor inside = Random(dtype, {r, c + 3}, seed).Slice(1, 1, c + 1);
  return transposed ? Tensor::Wrap(Transposed(inside), std::make_shared<Tensor>(inside)) : inside;
}

void Check(DType dtype, DType weights, const Shape& s, bool ta, bool tb, GemmOptions options) {
  SCOPED_TRACE(testing::Message() << NameOf(dtype) << " " << NameOf(weights) << " " << s.m << "×"
                                  << s.n << "×" << s.k << (ta ? " Aᵀ" : "") << (tb ? " Bᵀ" : "")
                                  << " beta " << options.beta);
  const Tensor a = Matrix(dtype, s.m, s.k, ta, 1), b = Matrix(weights, s.k, s.n, tb, 2);
  const Guarded c(dtype, {s.m, s.n});
  const Tensor before = Random(dtype, {s.m, s.n}, 3);
  std::memcpy(c.tensor().view().data, before.view().data, before.view().num_bytes());
  const std::vector<double> want = Reference(a, b, ToVector(before), options);
  Gemm(CpuContext().stream, a, b, c, options);
  // k additions, each rounding a partial sum that has grown to about √k: an error of about k/2
  // half units at most, a few of them at the worst element; alpha multiplies it with the sum.
  const double unit = dtype == DType::kF64 ? 0x1p-52 : 0x1p-23;
  const double of_sum = unit * (8 + 2 * s.k) * std::max(1.0, std::abs(options.alpha));
  ExpectNear(c, FromVector(DType::kF64, {s.m, s.n}, want), 8 * unit, of_sum);
}

TEST(GemmTest, EqualsTheDefinition) {
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    for (const Shape& s : kShapes) {
      for (const bool ta : {false, true}) {
        for (const bool tb : {false, true}) {
          Check(dtype, dtype, s, ta, tb, {});
          Check(dtype, dtype, s, ta, tb, {.alpha = -0.5, .beta = 2});
        }
      }
    }
  }
}

TEST(GemmTest, ReadsSixteenBitWeights) {
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    for (const DType weights : {DType::kBF16, DType::kF16}) {
      for (const Shape& s : kShapes) {
        const Tensor bias = Random(weights, {s.n}, 5);
        for (const bool tb : {false, true}) {
          Check(dtype, weights, s, false, tb, {.beta = 1});
          Check(dtype, weights, s, false, tb, {.bias = bias.view()});
        }
      }
    }
  }
}

TEST(GemmTest, ConvertsSixteenBitWeightsInBlocks) {  // more than one along K and along N
  const Shape s = {3, 1100, 2100};
  const Tensor bias = Random(DType::kF32, {s.n}, 5);
  for (const bool tb : {false, true}) {
    Check(DType::kF32, DType::kBF16, s, false, tb, {.alpha = 2, .beta = -1, .bias = bias.view()});
  }
}

TEST(GemmTest, AddsABiasToEveryRow) {
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    for (const Shape& s : kShapes) {
      const Tensor bias = Random(dtype, {s.n}, 4);
      Check(dtype, dtype, s, false, true, {.bias = bias.view()});
      Check(dtype, dtype, s, false, true, {.alpha = 3, .beta = -1, .bias = bias.view()});
    }
  }
}

TEST(GemmTest, DoesNotReadCWhereBetaIsZero) {
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    for (const int64_t k : {0, 1, 40}) {
      const Tensor a = Random(dtype, {20, k}, 1), b = Random(dtype, {k, 50}, 2);
      const Tensor c = FromVector(dtype, {20, 50}, std::vector<double>(1000, NAN));
      Gemm(CpuContext().stream, a, b, c);
      for (const double x : ToVector(c)) ASSERT_FALSE(std::isnan(x)) << NameOf(dtype) << " " << k;
    }
  }
}

TEST(GemmTest, TakesEmptyMatrices) {
  const DType f32 = DType::kF32;
  Gemm(CpuContext().stream, Random(f32, {0, 3}, 1), Random(f32, {3, 4}, 1), Random(f32, {0, 4}, 1));
  Gemm(CpuContext().stream, Random(f32, {2, 3}, 1), Random(f32, {3, 0}, 1), Random(f32, {2, 0}, 1));
  const Tensor c = FromVector(f32, {1, 2}, {3, 4});
  Gemm(CpuContext().stream, Random(f32, {1, 0}, 1), Random(f32, {0, 2}, 1), c, {.beta = 2});
  EXPECT_EQ(ToVector(c), (std::vector<double>{6, 8}));
}

TEST(GemmTest, LeavesWhatLiesBetweenRows) {
  const Tensor whole = FromVector(DType::kF32, {40, 60}, std::vector<double>(2400, 7.0));
  const Tensor a = Random(DType::kF32, {40, 8}, 1), b = Random(DType::kF32, {8, 20}, 2);
  Gemm(CpuContext().stream, a, b, whole.Slice(1, 10, 30));
  const std::vector<double> got = ToVector(whole);
  for (int64_t i = 0; i < 2400; ++i) {
    const bool outside = i % 60 < 10 || i % 60 >= 30;
    ASSERT_EQ(got[i] == 7.0, outside) << i;
  }
}

TEST(GemmTest, TheNumberOfThreadsDoesNotChangeABit) {
  const int threads_before = NumThreads();
  for (const DType weights : {DType::kF32, DType::kBF16}) {
    for (const Shape& s :
         {Shape{1024, 192, 96}, Shape{16, 576, 1024}, Shape{333, 501, 77}, Shape{16, 6144, 1024}}) {
      const Tensor a = Random(DType::kF32, {s.m, s.k}, 1), b = Random(weights, {s.n, s.k}, 2);
      std::vector<double> first;
      for (const int threads : {1, 2, 3, 4, 1}) {
        SetNumThreads(threads);
        omp_set_num_threads(first.empty() ? 1 : 4);  // the library's own threads: to be overruled
        const Tensor c = Random(DType::kF32, {s.m, s.n}, 3);
        Gemm(CpuContext().stream, a, Transposed(b), c, {.beta = 1});
        if (first.empty()) first = ToVector(c);
        EXPECT_EQ(ToVector(c), first) << threads << " threads, " << s.m << "×" << s.n;
      }
    }
  }
  SetNumThreads(threads_before);
}

TEST(GemmDeathTest, RefusesWhatDoesNotFit) {
  const Tensor a = Random(DType::kF32, {2, 3}, 1), b = Random(DType::kF32, {3, 4}, 1);
  const Tensor c = Random(DType::kF32, {2, 4}, 1);
  const Stream stream = CpuContext().stream;
  EXPECT_DEATH(Gemm(stream, a, Transposed(b), c), "B: want shape \\[3, 3\\]");
  EXPECT_DEATH(Gemm(stream, a, b, Transposed(c)), "C: want shape \\[2, 4\\]");
  EXPECT_DEATH(Gemm(stream, a, b, Random(DType::kF64, {2, 4}, 1)), "C: want f32");
  EXPECT_DEATH(Gemm(stream, a, Random(DType::kF64, {3, 4}, 1), c), "B: want f32");
  EXPECT_DEATH(Gemm(stream, a, b, Transposed(Random(DType::kF32, {4, 2}, 1))), "contiguous rows");
  EXPECT_DEATH(Gemm(stream, a, b, c, {.bias = a.view()}), "bias: want shape \\[4\\]");
}

}  // namespace
}  // namespace lockstep::kernels
