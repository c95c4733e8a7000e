#include "tensor/kernels/rope.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

const Stream kStream = CpuContext().stream;

TEST(RopeTest, TableHoldsCosinesAndSinesOfTheRowsFrequencies) {
  const Tensor positions = FromVector(DType::kI32, {3}, {0, 5, 100000});
  const Tensor inv_freq = FromVector(DType::kF32, {2, 2}, {1.0, 0.1, 0.5, 0.05});
  const Tensor row = FromVector(DType::kI32, {3}, {0, 1, 1});
  const Guarded table(DType::kF32, {3, 2, 2});
  RopeTable(kStream, positions, inv_freq, row, 2.0, table);
  const std::vector<double> got = ToVector(table);
  const float angles[3][2] = {{0, 0}, {2.5f, 5 * 0.05f}, {50000.0f, 100000 * 0.05f}};
  for (int t = 0; t < 3; ++t) {
    for (int i = 0; i < 2; ++i) {
      EXPECT_NEAR(got[(t * 2 + i) * 2], 2 * std::cos(double{angles[t][i]}), 2.5e-7);
      EXPECT_NEAR(got[(t * 2 + i) * 2 + 1], 2 * std::sin(double{angles[t][i]}), 2.5e-7);
    }
  }
  RopeTable(kStream, positions, inv_freq, View{}, 1.0, table);
  EXPECT_NEAR(ToVector(table)[5], std::sin(5.0), 1e-7) << "row 0 where no rows are given";
}

TEST(RopeTest, RotatesHalvesAndLeavesTheRest) {
  // A quarter turn of the first pair, none of the second; D = 6, so two elements stay.
  const Tensor table = FromVector(DType::kF32, {1, 2, 2}, {0, 1, 1, 0});
  const Tensor x = FromVector(DType::kF64, {1, 1, 6}, {1, 2, 3, 4, 5, 6});
  Rope(kStream, x, table, 1);
  EXPECT_EQ(ToVector(x), (std::vector<double>{-3, 2, 1, 4, 5, 6}));
  Rope(kStream, x, table, -1);
  EXPECT_EQ(ToVector(x), (std::vector<double>{1, 2, 3, 4, 5, 6}));
}

TEST(RopeTest, ScoresDependOnDistanceAlone) {
  const Tensor inv_freq = FromVector(DType::kF64, {1, 4}, {1, 0.3, 0.09, 0.027});
  const auto score = [&](int at_q, int at_k) {
    const Tensor x = Random(DType::kF64, {2, 1, 8}, 7);
    const Tensor table = Random(DType::kF64, {2, 4, 2}, 9);
    RopeTable(kStream,
              FromVector(DType::kI32, {2}, {static_cast<double>(at_q), static_cast<double>(at_k)}),
              inv_freq, View{}, 1.0, table);
    Rope(kStream, x, table, 1);
    const std::vector<double> v = ToVector(x);
    double sum = 0;
    for (int i = 0; i < 8; ++i) sum += v[i] * v[8 + i];
    return sum;
  };
  EXPECT_NEAR(score(9, 4), score(105, 100), 1e-12);
  EXPECT_GT(std::abs(score(9, 4) - score(9, 5)), 1e-3);
}

TEST(RopeTest, StaysInsideItsSlice) {
  const Guarded merged(DType::kF32, {40, 24});
  for (int64_t i = 0; i < 40 * 24; ++i) merged.tensor().view().as<float>()[i] = 1;
  View heads = merged.tensor().view().Slice(1, 8, 16);
  heads.rank = 3, heads.shape[1] = 2, heads.shape[2] = 4, heads.stride[1] = 4, heads.stride[2] = 1;
  const Tensor table = FromVector(DType::kF32, {40, 2, 2}, std::vector<double>(160, 0.5));
  Rope(kStream, heads, table, 1);
  const std::vector<double> x = ToVector(merged);
  for (int64_t i = 0; i < 40 * 24; ++i) {
    const bool inside = i % 24 >= 8 && i % 24 < 16;
    EXPECT_EQ(x[i], !inside ? 1.0 : i % 4 < 2 ? 0.0 : 1.0) << i;
  }
}

TEST(RopeDeathTest, RefusesATableThatDoesNotFit) {
  const Tensor x = Random(DType::kF32, {2, 1, 8}, 1);
  EXPECT_DEATH(Rope(kStream, x, Random(DType::kF32, {2, 5, 2}, 1), 1), "2P ≤ D");
  EXPECT_DEATH(Rope(kStream, x, Random(DType::kF32, {3, 4, 2}, 1), 1), "\\[rope\\] table");
}

}  // namespace
}  // namespace lockstep::kernels
