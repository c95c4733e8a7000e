#include "tensor/kernels/drawn_shapes.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

// ‖got − want‖ relative to ‖want‖ as it is expected of sums of `terms` random products times
// `alpha`: of few sums the norm itself may be nearly 0.
double Distance(const View& got, const View& want, int64_t terms, double alpha) {
  const std::vector<double> a = ToVector(got), b = ToVector(want);
  double difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(difference / static_cast<double>(a.size() * terms)) / alpha;
}

Tensor AsF64(const Tensor& x) {
  return FromVector(DType::kF64, absl::MakeConstSpan(x.view().shape, x.rank()), ToVector(x));
}

TEST(GemmCudaTest, MatchesDoubleForEveryLayoutAndType) {
  SKIP_WITHOUT_GPU();
  struct Case {
    DType in, out;
    double tolerance;
  };
  for (const Case& c :
       {Case{DType::kF64, DType::kF64, 1e-14}, Case{DType::kF32, DType::kF32, 1e-6},
        Case{DType::kBF16, DType::kBF16, 3e-3}, Case{DType::kBF16, DType::kF32, 1e-6}}) {
    using Shape = std::tuple<int64_t, int64_t, int64_t>;
    for (const auto& [m, n, k] :
         AndDrawn<Shape>({{1, 1, 1}, {8, 16, 24}, {64, 200, 48}, {130, 72, 264}}, [](Draw& draw) {
           return Shape{draw.Size(200), draw.Size(200), draw.Size(300)};
         })) {
      for (const bool ta : {false, true}) {
        for (const bool tb : {false, true}) {
          const Tensor a = ta ? Random(c.in, {k, m}, 1) : Random(c.in, {m, k}, 1);
          const Tensor b = tb ? Random(c.in, {n, k}, 2) : Random(c.in, {k, n}, 2);
          const auto oriented = [](const View& x, bool t) { return t ? Transposed(x) : x; };
          const Tensor want = Tensor::Empty(*CpuContext().allocator, DType::kF64, {m, n});
          Gemm(CpuContext().stream, oriented(AsF64(a), ta), oriented(AsF64(b), tb), want,
               {.alpha = 0.5});
          const GpuGuarded got(c.out, {m, n});
          const Tensor gpu_a = ToGpu(a), gpu_b = ToGpu(b);
          Gemm(GpuContext()->stream, oriented(gpu_a, ta), oriented(gpu_b, tb), got, {.alpha = 0.5});
          EXPECT_LT(Distance(ToCpu(got.tensor()), want, k, 0.5), c.tolerance)
              << NameOf(c.in) << " " << m << "x" << n << "x" << k << " " << ta << tb;
        }
      }
    }
  }
}

TEST(GemmCudaTest, AddsToCAndABias) {
  SKIP_WITHOUT_GPU();
  using Shape = std::tuple<int64_t, int64_t, int64_t>;
  for (const auto& [m, n, k] : AndDrawn<Shape>({{40, 96, 64}}, [](Draw& draw) {
         return Shape{draw.Size(200), draw.Size(200), draw.Size(300)};
       })) {
    SCOPED_TRACE(testing::Message() << m << "x" << n << "x" << k);
    const Tensor a = Random(DType::kBF16, {m, k}, 1), b = Random(DType::kBF16, {k, n}, 2);
    const Tensor c = Random(DType::kBF16, {m, n}, 3), bias = Random(DType::kBF16, {n}, 4);
    const Tensor want = AsF64(c);
    Gemm(CpuContext().stream, AsF64(a), AsF64(b), want, {.beta = 1, .bias = AsF64(bias)});
    const Tensor got = ToGpu(c), gpu_bias = ToGpu(bias);
    Gemm(GpuContext()->stream, ToGpu(a), ToGpu(b), got, {.beta = 1, .bias = gpu_bias});
    EXPECT_LT(Distance(ToCpu(got), want, k, 1), 6e-3);
  }
}

TEST(GemmCudaTest, AnEmptySumIsZero) {
  SKIP_WITHOUT_GPU();
  const GpuGuarded c(DType::kF32, {3, 5});
  const Tensor a = Tensor::Empty(*GpuContext()->allocator, DType::kF32, {3, 0});
  const Tensor b = Tensor::Empty(*GpuContext()->allocator, DType::kF32, {0, 5});
  Gemm(GpuContext()->stream, a, b, c);
  EXPECT_EQ(ToVector(ToCpu(c.tensor())), std::vector<double>(15, 0.0));
}

TEST(GemmCudaTest, RepeatsItself) {
  SKIP_WITHOUT_GPU();
  const Tensor a = ToGpu(Random(DType::kBF16, {48, 4096}, 1));
  const Tensor b = ToGpu(Random(DType::kBF16, {4096, 96}, 2));
  std::vector<double> first;
  for (int i = 0; i < 5; ++i) {
    const Tensor c = Tensor::Empty(*GpuContext()->allocator, DType::kF32, {48, 96});
    Gemm(GpuContext()->stream, a, b, c);
    const std::vector<double> got = ToVector(ToCpu(c));
    if (i == 0) first = got;
    EXPECT_EQ(got, first);
  }
}

}  // namespace
}  // namespace lockstep::kernels
