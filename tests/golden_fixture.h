// What tests have in common that compare one golden after the other, by its name:
//
//   class Parity : public GoldenFixture { … };
//   TEST_P(Parity, F32) { Expect("f32", RunGolden(golden_, {}), kTolerance); }
//   INSTANTIATE_TEST_SUITE_P(Families, Parity, AllGoldens(), GoldenName);
//
// Without ../shared/goldens there is one case, which skips.
#pragma once

#include <cstdio>
#include <string>

#include "gtest/gtest.h"
#include "tests/golden_run.h"

namespace lockstep {

inline constexpr char kGoldenRoot[] = "external/shared";

class GoldenFixture : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() == "none") GTEST_SKIP() << "../shared/goldens is not there";
    golden_ = ReadGolden(kGoldenRoot, GetParam());
  }

  // Prints the differences and checks them. `what`: the run, for people.
  void Expect(const char* what, const Differences& differences, const Tolerance& tolerance) {
    std::printf("%-12s %-18s %s\n", GetParam().c_str(), what, Show(differences).c_str());
    EXPECT_TRUE(Meets(differences, tolerance)) << what << ": " << Show(differences);
  }

  // stories260k is a trained model with logits up to 20 and goes through 20 steps; the others are
  // random and small.
  bool trained() const { return golden_.name == "stories260k"; }

  Golden golden_;
};

inline auto AllGoldens() { return ::testing::ValuesIn(GoldenNames(kGoldenRoot)); }

inline std::string GoldenName(const ::testing::TestParamInfo<std::string>& info) {
  return info.param;
}

}  // namespace lockstep
