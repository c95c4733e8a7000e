#include "nn/svd.h"

#include <algorithm>
#include <cmath>

#include "gtest/gtest.h"
#include "nn/random.h"

namespace lockstep::nn {
namespace {

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// W v = s u and Wᵀ u = s v, orthonormal, descending, and nothing larger is left in the rest.
void Check(const std::vector<float>& w, int64_t rows, int64_t columns, int64_t r) {
  const LeadingSvd svd = LargestSingularVectors(w, rows, columns, r);
  ASSERT_EQ(static_cast<int64_t>(svd.s.size()), r);
  for (int64_t i = 0; i < r; ++i) {
    EXPECT_LE(svd.s[i], svd.s[std::max<int64_t>(0, i - 1)]);
    for (int64_t j = 0; j < r; ++j) {
      const double want = i == j && svd.s[i] > 0 ? 1 : 0;
      EXPECT_NEAR(Dot(svd.v[i], svd.v[j]), want, 1e-10);
    }
    for (int64_t y = 0; y < rows; ++y) {
      double sum = 0;
      for (int64_t x = 0; x < columns; ++x) sum += w[y * columns + x] * svd.v[i][x];
      EXPECT_NEAR(sum, svd.s[i] * svd.u[i][y], 1e-6 * (1 + svd.s[0]));
    }
    for (int64_t x = 0; x < columns; ++x) {
      double sum = 0;
      for (int64_t y = 0; y < rows; ++y) sum += w[y * columns + x] * svd.u[i][y];
      EXPECT_NEAR(sum, svd.s[i] * svd.v[i][x], 1e-6 * (1 + svd.s[0]));
    }
  }
  // Power iteration on what remains finds nothing above the last value.
  std::vector<double> x(columns);
  for (int64_t j = 0; j < columns; ++j) x[j] = std::sin(1.0 + static_cast<double>(j * j));
  double length = 0;
  for (int step = 0; step < 300; ++step) {
    for (int64_t i = 0; i < r; ++i) {
      const double along = Dot(x, svd.v[i]);
      for (int64_t j = 0; j < columns; ++j) x[j] -= along * svd.v[i][j];
    }
    std::vector<double> y(rows, 0.0), z(columns, 0.0);
    for (int64_t a = 0; a < rows; ++a) {
      for (int64_t b = 0; b < columns; ++b) y[a] += w[a * columns + b] * x[b];
    }
    for (int64_t a = 0; a < rows; ++a) {
      for (int64_t b = 0; b < columns; ++b) z[b] += w[a * columns + b] * y[a];
    }
    length = std::sqrt(Dot(z, z));
    if (length < 1e-12) break;
    for (int64_t b = 0; b < columns; ++b) x[b] = z[b] / length;
  }
  EXPECT_LE(std::sqrt(length), svd.s[r - 1] * (1 + 1e-6) + 1e-6);
}

TEST(Svd, RandomMatricesOfAllShapes) {
  Check(NormalValues(1, "square", 60 * 60, 1), 60, 60, 8);
  Check(NormalValues(1, "tall", 150 * 40, 1), 150, 40, 5);
  Check(NormalValues(1, "wide", 30 * 200, 1), 30, 200, 4);
  Check(NormalValues(1, "whole", 12 * 9, 1), 12, 9, 9);
  Check(NormalValues(1, "low", 12 * 84, 1), 12, 84, 4);
  Check(NormalValues(1, "all rows", 6 * 129, 1), 6, 129, 6);
  Check(NormalValues(1, "large", 300 * 400, 1), 300, 400, 16);
}

TEST(Svd, RankOneAndZero) {
  std::vector<float> w(20 * 10);
  for (int i = 0; i < 20; ++i) {
    for (int j = 0; j < 10; ++j) w[i * 10 + j] = static_cast<float>((i + 1) * (j - 3));
  }
  const LeadingSvd one = LargestSingularVectors(w, 20, 10, 3);
  EXPECT_NEAR(one.s[0], std::sqrt(2870.0 * 105.0), 1e-6);
  EXPECT_NEAR(one.s[1], 0, 1e-6);
  const LeadingSvd zero = LargestSingularVectors(std::vector<float>(200, 0.0f), 20, 10, 2);
  EXPECT_EQ(zero.s[0], 0);
}

}  // namespace
}  // namespace lockstep::nn
