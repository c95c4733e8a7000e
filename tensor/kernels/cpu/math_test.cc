#include "tensor/kernels/cpu/math.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace lockstep::kernels::cpu {
namespace {

TEST(MathTest, ExpIsWithinTwoUnitsInTheLastPlace) {
  double worst = 0;
  for (float x = -87.2f; x < 88.7f; x += 0.000731f) {
    const double want = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(Exp(x) / want - 1));
  }
  EXPECT_LT(worst, 2 * 0x1p-23);
  EXPECT_EQ(Exp(0.0f), 1.0f);
}

TEST(MathTest, ExpAtItsEnds) {
  EXPECT_EQ(Exp(-INFINITY), 0.0f);
  EXPECT_EQ(Exp(-1e30f), 0.0f);
  EXPECT_EQ(Exp(INFINITY), INFINITY);
  EXPECT_EQ(Exp(100.0f), INFINITY);
  EXPECT_TRUE(std::isfinite(Exp(88.72f)));
  EXPECT_TRUE(std::isnan(Exp(NAN)));
}

TEST(MathTest, TanhIsExactToAFewUnits) {
  double worst = 0;
  for (float x = -12.0f; x < 12.0f; x += 0.000317f) {
    const double want = std::tanh(static_cast<double>(x));
    if (want != 0) worst = std::max(worst, std::abs(Tanh(x) / want - 1));
  }
  EXPECT_LT(worst, 8 * 0x1p-23);
  EXPECT_EQ(Tanh(0.0f), 0.0f);
  EXPECT_EQ(Tanh(-INFINITY), -1.0f);
}

TEST(MathTest, ReductionsTakeEveryElementOnce) {
  for (const int64_t n : {0, 1, 15, 16, 17, 100}) {
    std::vector<double> x(n);
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += x[i] = static_cast<double>(i + 1);
    EXPECT_EQ(SumOf<double>(n, [&](int64_t i) { return x[i]; }), sum);
    EXPECT_EQ(MaxOf(x.data(), n, -1.0), n == 0 ? -1.0 : static_cast<double>(n));
    EXPECT_EQ(Dot(x.data(), x.data(), n), static_cast<double>(n * (n + 1) * (2 * n + 1) / 6));
  }
}

}  // namespace
}  // namespace lockstep::kernels::cpu
