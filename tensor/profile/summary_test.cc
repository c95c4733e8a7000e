#include "tensor/profile/summary.h"

#include <nlohmann/json.hpp>

#include "gtest/gtest.h"

namespace lockstep::profile {
namespace {

double Of(const Summary& summary, Kind kind) { return summary.by_kind[static_cast<int>(kind)]; }

double Sum(const Summary& summary) {
  double sum = summary.idle;
  for (const double ms : summary.by_kind) sum += ms;
  return sum;
}

TEST(Summary, KindsAndIdleAddUpToTheSpan) {
  // 0        10        20        30        40        50 ms
  // [ gemm   ]   [ rope   ]                 [copy]
  //        [ attention]
  //     [ nccl                        ]
  const std::vector<Activity> activities = {
      {"nvjet_tst_128x256", 0, 10e3, 7},      {"ncclDevKernel_AllReduce", 4e3, 34e3, 8},
      {"cudnn_generated_sdpa", 8e3, 16e3, 7}, {"RopeKernel<bf16>", 14e3, 24e3, 7},
      {"copy of 8 bytes", 40e3, 42e3, 7},
  };
  const Summary summary = Summarize(activities, 0, 50e3);
  EXPECT_NEAR(Of(summary, Kind::kGemm), 10, 1e-9);
  EXPECT_NEAR(Of(summary, Kind::kAttention), 6, 1e-9);  // from 10 to 16: before, the gemm counts
  EXPECT_NEAR(Of(summary, Kind::kPointwise), 8, 1e-9);  // from 16 to 24
  EXPECT_NEAR(Of(summary, Kind::kCopy), 2, 1e-9);
  EXPECT_NEAR(Of(summary, Kind::kCommunication), 10, 1e-9);  // from 24 to 34
  EXPECT_NEAR(summary.hidden_communication, 20, 1e-9);
  EXPECT_NEAR(summary.idle, 6 + 8, 1e-9);
  EXPECT_NEAR(Sum(summary), summary.span, 1e-9);
  EXPECT_NEAR(summary.span, 50, 1e-9);
}

TEST(Summary, WhatLiesOutsideTheTimeDoesNotCount) {
  const std::vector<Activity> activities = {{"GluKernel", 0, 10e3, 7},
                                            {"GluKernel", 20e3, 40e3, 7}};
  const Summary summary = Summarize(activities, 5e3, 30e3);
  EXPECT_NEAR(Of(summary, Kind::kPointwise), 5 + 10, 1e-9);
  EXPECT_NEAR(summary.idle, 10, 1e-9);
  EXPECT_NEAR(Summarize({}, 0, 7e3).idle, 7, 1e-9);
}

TEST(Summary, LongGapsAreCountedApart) {
  const std::vector<Activity> activities = {
      {"GluKernel", 0, 100, 7}, {"GluKernel", 102, 200, 7}, {"GluKernel", 250, 300, 7}};
  const Summary summary = Summarize(activities, 0, 300);
  EXPECT_EQ(summary.gaps, 2);
  EXPECT_EQ(summary.long_gaps, 1);
  EXPECT_NEAR(summary.long_idle, 0.050, 1e-9);
  EXPECT_NEAR(summary.idle, 0.052, 1e-9);
}

TEST(Summary, TheTableShowsOneStepAndTheLongestKernels) {
  const std::vector<Activity> activities = {{"nvjet_a", 0, 6e3, 7}, {"RopeKernel", 6e3, 8e3, 7}};
  const std::string table = Table(Summarize(activities, 0, 8e3), activities, /*steps=*/2, 1);
  EXPECT_NE(table.find("gemm                        3.000 ms   75.0 %"), std::string::npos)
      << table;
  EXPECT_NE(table.find("the step                    4.000 ms  100.0 %"), std::string::npos)
      << table;
  EXPECT_NE(table.find("nvjet_a"), std::string::npos);
  EXPECT_EQ(table.find("RopeKernel"), std::string::npos);
}

TEST(ChromeTrace, HasARowForTheHostAndOneForEachStream) {
  const auto trace = nlohmann::json::parse(
      ChromeTrace({{"nvjet \"a\"", 10, 30, 7}, {"ncclKernel", 20, 50, 9}}, {{"forward", 5, 8}}, 2));
  int rows = 0, complete = 0;
  for (const auto& event : trace.at("traceEvents")) {
    EXPECT_EQ(event.at("pid"), 2);
    rows += event.at("name") == "thread_name";
    complete += event.at("ph") == "X";
  }
  EXPECT_EQ(rows, 3);
  EXPECT_EQ(complete, 3);
}

}  // namespace
}  // namespace lockstep::profile
