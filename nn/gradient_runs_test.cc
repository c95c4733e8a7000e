#include "nn/gradient_runs.h"

#include <utility>

#include "gtest/gtest.h"
#include "tensor/kernels/testing.h"

namespace lockstep::nn {
namespace {

using Range = std::pair<int, int>;

class GradientRunsTest : public testing::Test {
 protected:
  // Parameters of 128 elements.
  FlatParameters parameters_{kernels::CpuContext(),
                             {{"a", {128}}, {"b", {128}}, {"c", {128}}, {"d", {128}}, {"e", {128}}},
                             {.num_slots = 1}};
  std::vector<Range> runs_;
  GradientRuns Runs(int64_t least_numel) {
    return GradientRuns(
        parameters_,
        [this](int first, int end) {
          runs_.push_back({first, end});
        },
        least_numel);
  }
};

TEST_F(GradientRunsTest, NeighborsGoTogether) {
  GradientRuns runs = Runs(256);
  for (int i = 0; i < 5; ++i) runs.Add(i);
  EXPECT_EQ(runs_, (std::vector<Range>{{0, 2}, {2, 4}}));
  runs.Finish();
  EXPECT_EQ(runs_, (std::vector<Range>{{0, 2}, {2, 4}, {4, 5}}));
}

TEST_F(GradientRunsTest, TheOrderWithinARunIsFree) {
  GradientRuns runs = Runs(256);
  for (const int i : {1, 3, 2}) runs.Add(i);
  EXPECT_TRUE(runs_.empty());
  runs.Add(0);
  EXPECT_EQ(runs_, (std::vector<Range>{{0, 4}}));
}

TEST_F(GradientRunsTest, WhatIsNotFinalIsLeftOut) {
  GradientRuns runs = Runs(1024);
  for (const int i : {0, 2, 3}) runs.Add(i);
  runs.Finish();
  EXPECT_EQ(runs_, (std::vector<Range>{{0, 1}, {2, 4}}));
}

TEST_F(GradientRunsTest, NothingIsNoRun) {
  GradientRuns runs = Runs(1);
  runs.Finish();
  EXPECT_TRUE(runs_.empty());
}

}  // namespace
}  // namespace lockstep::nn
