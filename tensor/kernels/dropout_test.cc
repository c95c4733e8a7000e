#include "tensor/kernels/dropout.h"

#include "tensor/kernels/testing.h"

namespace lockstep::kernels {
namespace {

Tensor Keys(const std::vector<double>& keys) {
  return FromVector(DType::kI64, {static_cast<int64_t>(keys.size())}, keys);
}

Tensor Ones(DType dtype, int64_t rows, int64_t columns) {
  return FromVector(dtype, {rows, columns}, std::vector<double>(rows * columns, 1.0));
}

TEST(DropoutTest, EqualsItsDefinition) {
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    for (const int64_t channels : {1, 3, 4, 31, 32, 33, 130}) {
      const std::vector<double> keys = {5, -1, 1e12};
      const Tensor x = Random(dtype, {3, channels}, 1);
      const Guarded y(dtype, {3, channels});
      Dropout(CpuContext().stream, x, Keys(keys), y, {.p = 0.25, .key = 77});
      const std::vector<double> in = ToVector(x), out = ToVector(y);
      for (int64_t t = 0; t < 3; ++t) {
        const uint64_t token = static_cast<uint64_t>(static_cast<int64_t>(keys[t]));
        for (int64_t c = 0; c < channels; ++c) {
          const PhiloxBlock words =
              Philox({{static_cast<uint32_t>(token), static_cast<uint32_t>(token >> 32),
                       static_cast<uint32_t>(c / 4), 0}},
                     77);
          const bool kept = words.word[c % 4] >= 0x40000000u;
          EXPECT_NEAR(out[t * channels + c], kept ? in[t * channels + c] / 0.75 : 0, 1e-6);
        }
      }
    }
  }
}

TEST(DropoutTest, DropsTheGivenShareAndKeepsTheMean) {
  const Tensor x = Ones(DType::kF32, 100, 1000), y = Ones(DType::kF32, 100, 1000);
  std::vector<double> keys(100);
  for (int i = 0; i < 100; ++i) keys[i] = i;
  for (const double p : {0.0, 0.1, 0.5, 0.9}) {
    Dropout(CpuContext().stream, x, Keys(keys), y, {.p = p, .key = 3});
    int dropped = 0;
    double sum = 0;
    for (const double v : ToVector(y)) dropped += v == 0, sum += v;
    EXPECT_NEAR(dropped / 1e5, p, 5 * std::sqrt(p * (1 - p) / 1e5)) << p;
    EXPECT_NEAR(sum / 1e5, 1, 5 * std::sqrt(p / (1 - p) / 1e5) + 1e-6) << p;
  }
}

TEST(DropoutTest, KnowsTokensNotRows) {
  const Tensor x = Random(DType::kF32, {3, 50}, 1);
  const Tensor three = Ones(DType::kF32, 3, 50), one = Ones(DType::kF32, 1, 50);
  Dropout(CpuContext().stream, x, Keys({8, 9, 10}), three, {.p = 0.5, .key = 3});
  Dropout(CpuContext().stream, x.Slice(0, 2, 3), Keys({10}), one, {.p = 0.5, .key = 3});
  EXPECT_EQ(ToVector(one), ToVector(three.Slice(0, 2, 3)));
  Dropout(CpuContext().stream, x.Slice(0, 2, 3), Keys({10}), one, {.p = 0.5, .key = 4});
  EXPECT_NE(ToVector(one), ToVector(three.Slice(0, 2, 3)));
}

TEST(DropoutTest, AddsAndWorksInPlace) {
  const Tensor x = Random(DType::kF64, {2, 40}, 1), y = Ones(DType::kF64, 2, 40);
  Dropout(CpuContext().stream, x, Keys({1, 2}), y, {.p = 0.5, .key = 3, .accumulate = true});
  Dropout(CpuContext().stream, x, Keys({1, 2}), x, {.p = 0.5, .key = 3});
  const std::vector<double> in_place = ToVector(x), added = ToVector(y);
  for (size_t i = 0; i < added.size(); ++i) EXPECT_EQ(added[i], 1 + in_place[i]);
}

TEST(DropoutDeathTest, RefusesWhatDoesNotFit) {
  const Tensor x = Ones(DType::kF32, 2, 3);
  const Stream stream = CpuContext().stream;
  EXPECT_DEATH(Dropout(stream, x, Keys({1}), x, {.p = 0.5}), "token_keys: want shape \\[2\\]");
  EXPECT_DEATH(Dropout(stream, x, Keys({1, 2}), x, {.p = 1}), "0 ≤ p < 1");
}

}  // namespace
}  // namespace lockstep::kernels
