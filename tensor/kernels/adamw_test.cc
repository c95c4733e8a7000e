#include "tensor/kernels/adamw.h"

#include "tensor/kernels/fixed_point.h"
#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

const Stream kStream = CpuContext().stream;

// Flat memory of n elements in f64 with small helpers to step it.
struct Flat {
  explicit Flat(int64_t n, DType dtype = DType::kF64)
      : param(Random(dtype, {n}, 1)),
        m(FromVector(dtype, {n}, std::vector<double>(n, 0))),
        v(FromVector(dtype, {n}, std::vector<double>(n, 0))) {}

  void Step(const Tensor& gradient, int64_t step, std::vector<AdamWRange> ranges,
            double coefficient = 1.0, double overflow = 0, const View& image = View{}) {
    AdamWOptions options = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-6, .step = step};
    AdamW(kStream, gradient, FromVector(DType::kF64, {1}, {coefficient}),
          FromVector(DType::kI64, {1}, {overflow}), options,
          {ranges.data(), static_cast<int64_t>(ranges.size())}, param, m, v, image);
  }
  Tensor param, m, v;
};

TEST(AdamWTest, FollowsThePublishedAlgorithm) {  // bias-corrected estimates, decoupled decay
  const int64_t n = 5;
  const double lr = 1e-2, decay = 0.1, beta1 = 0.9, beta2 = 0.95;
  Flat flat(n);
  std::vector<double> p = ToVector(flat.param), m(n, 0), v(n, 0);
  for (int step = 1; step <= 4; ++step) {
    const Tensor gradient = Random(DType::kF64, {n}, static_cast<uint32_t>(step), 0.1);
    const std::vector<double> g = ToVector(gradient);
    flat.Step(gradient, step, {{0, n, lr, decay}});
    for (int64_t i = 0; i < n; ++i) {
      m[i] = beta1 * m[i] + (1 - beta1) * g[i];
      v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
      const double m_hat = m[i] / (1 - std::pow(beta1, step));
      const double v_hat = v[i] / (1 - std::pow(beta2, step));
      p[i] = p[i] - lr * decay * p[i] - lr * m_hat / (std::sqrt(v_hat) + 1e-6);
    }
    ExpectNear(flat.param, FromVector(DType::kF64, {n}, p), 1e-13, 0);
    ExpectNear(flat.m, FromVector(DType::kF64, {n}, m), 1e-13, 1e-18);
    ExpectNear(flat.v, FromVector(DType::kF64, {n}, v), 1e-13, 1e-18);
  }
}

// Three steps by torch.optim.AdamW 2.8 (lr .01, betas .9 and .95, eps 1e-6, weight decay .1,
// foreach=False) in float64.
TEST(AdamWTest, MeetsTorchsFigures) {
  const std::vector<std::vector<double>> gradients = {
      {0.1, -2.0, 0.03, 1e-5}, {-0.3, 0.5, 0.0, 1e-7}, {0.25, 0.125, -4.0, -3e-6}};
  const std::vector<double> want_param = {0.492450260202057, -1.2282173117602373,
                                          2.9804441626883507, -0.01684741429066591},
                            want_m = {0.0061, -0.1045, -0.39757, 5.19e-07},
                            want_v = {0.00785125, 0.19315625, 0.8000406125, 4.962975e-12};
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    Flat flat(4, dtype);
    const std::vector<double> start = {0.5, -1.25, 3.0, 1e-3};
    for (int i = 0; i < 4; ++i) SetElement(flat.param.view().data, dtype, i, start[i]);
    for (int step = 1; step <= 3; ++step) {
      flat.Step(FromVector(dtype, {4}, gradients[step - 1]), step, {{0, 4, 0.01, 0.1}});
    }
    const double tolerance = dtype == DType::kF64 ? 1e-14 : 5e-7;
    ExpectNear(flat.param, FromVector(DType::kF64, {4}, want_param), tolerance, 0);
    ExpectNear(flat.m, FromVector(DType::kF64, {4}, want_m), 2 * tolerance, 0);
    ExpectNear(flat.v, FromVector(DType::kF64, {4}, want_v), tolerance, 0);
  }
}

TEST(AdamWTest, QuantaFloatsAndAScaledClipAgree) {
  const Tensor g = Random(DType::kF32, {20000}, 2, 1e-3);
  const Tensor quanta = FromVector(DType::kI64, {20000}, std::vector<double>(20000, 0));
  AddFixedPoint(kStream, g, kGradientFractionBits, 1, quanta, FromVector(DType::kI64, {1}, {0}));
  Flat a(20000, DType::kF32), b(20000, DType::kF32);
  const std::vector<AdamWRange> ranges = {{0, 20000, 1e-3, 0.01}};
  a.Step(g, 1, ranges, 0.25);
  b.Step(quanta, 1, ranges, 0.25);
  ExpectNear(a.m, b.m, 1e-6, 1e-13);
  // The first step is nearly the sign of the gradient: where that is a few quanta, it may differ.
  ExpectNear(a.param, b.param, 1e-6, 1e-6);
  Flat unclipped(20000, DType::kF32);
  unclipped.Step(g, 1, ranges);
  EXPECT_NE(ToVector(unclipped.m), ToVector(a.m));
}

TEST(AdamWTest, EachRangeHasItsRateAndTheRestStays) {
  Flat flat(10);
  const std::vector<double> before = ToVector(flat.param);
  flat.Step(FromVector(DType::kF64, {10}, std::vector<double>(10, 1.0)), 1,
            {{0, 2, 0.1, 0}, {2, 4, 0.4, 0}, {6, 10, 0, 0.5}});
  const std::vector<double> after = ToVector(flat.param);
  const double want[] = {0.1, 0.1, 0.4, 0.4, 0, 0, 0, 0, 0, 0};
  for (int i = 0; i < 10; ++i) EXPECT_NEAR(before[i] - after[i], want[i], 1e-6) << i;
  EXPECT_EQ(ToVector(flat.m)[5], 0) << "outside of the ranges nothing is written";
  EXPECT_NEAR(ToVector(flat.m)[7], 0.1, 1e-15);
}

TEST(AdamWTest, AWrongGradientChangesNothing) {
  Flat flat(100);
  const std::vector<double> before = ToVector(flat.param);
  flat.Step(Random(DType::kF64, {100}, 3), 1, {{0, 100, 0.1, 0.1}}, 1.0, /*overflow=*/2);
  flat.Step(Random(DType::kF64, {100}, 3), 1, {{0, 100, 0.1, 0.1}}, /*coefficient=*/NAN);
  EXPECT_EQ(ToVector(flat.param), before);
  EXPECT_EQ(ToVector(flat.m), std::vector<double>(100, 0));
  EXPECT_EQ(ToVector(flat.v), std::vector<double>(100, 0));
}

TEST(AdamWTest, WritesTheRoundedImage) {
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    Flat flat(33, dtype);
    const Guarded image(DType::kBF16, {33});
    flat.Step(Random(dtype, {33}, 3), 1, {{0, 33, 0.1, 0.1}}, 1.0, 0, image);
    const std::vector<double> p = ToVector(flat.param), rounded = ToVector(image);
    for (int i = 0; i < 33; ++i) {
      EXPECT_EQ(rounded[i], Bf16ToFloat(FloatToBf16(static_cast<float>(p[i]))));
    }
  }
}

TEST(AdamWDeathTest, RefusesRangesThatOverlap) {
  Flat flat(10);
  const Tensor g = Random(DType::kF64, {10}, 3);
  EXPECT_DEATH(flat.Step(g, 1, {{0, 6, 0.1, 0}, {5, 10, 0.1, 0}}),
               "\\[adamw\\] range 1 \\[5, 10\\)");
  EXPECT_DEATH(flat.Step(g, 1, {{0, 11, 0.1, 0}}), "within \\[0, 10\\)");
  EXPECT_DEATH(flat.Step(g, 0, {}), "steps count from 1");
}

}  // namespace
}  // namespace lockstep::kernels
