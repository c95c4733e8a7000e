#include "tools/benchmarks/energy_curve.h"

#include "gtest/gtest.h"

namespace lockstep {
namespace {

// 100 W until second 1, then 300 W; the counter moves every 0.1 s, and is read more often.
EnergyCurve Curve() {
  EnergyCurve curve;
  for (int i = 3; i <= 200; ++i) {
    const int tick = i / 10;
    curve.Add(0.01 * i, tick <= 10 ? 10.0 * tick : 100 + 30.0 * (tick - 10));
  }
  return curve;
}

TEST(EnergyCurve, MeanPowerBetweenTwoTimes) {
  const EnergyCurve curve = Curve();
  EXPECT_NEAR(curve.Watts(0.25, 0.95), 100, 1e-9);
  EXPECT_NEAR(curve.Watts(1.15, 1.85), 300, 1e-9);
  EXPECT_NEAR(curve.Watts(0.5, 1.5), 200, 1e-9);
}

TEST(EnergyCurve, ContinuesBeyondTheOutermostMoves) {
  const EnergyCurve curve = Curve();
  EXPECT_NEAR(curve.Watts(0.0, 0.2), 100, 1e-9);
  EXPECT_NEAR(curve.Watts(1.9, 2.5), 300, 1e-9);
}

TEST(EnergyCurve, KnowsNothingFromOneMove) {
  EnergyCurve curve;
  EXPECT_EQ(curve.Watts(0, 1), 0);
  curve.Add(0, 5);
  curve.Add(0.1, 6);
  EXPECT_EQ(curve.Watts(0, 1), 0);
  curve.Add(0.2, 7);
  EXPECT_NEAR(curve.Watts(0, 1), 10, 1e-9);
}

}  // namespace
}  // namespace lockstep
