#include "trainer/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "trainer/report/chart.h"

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ChartTest, TicksAreRoundAndInside) {
  EXPECT_THAT(AxisTicks(0, 10, 5), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(AxisTicks(-0.5, 1.2, 4), ElementsAre(-0.5, 0, 0.5, 1));
}

TEST(ChartTest, OnePointAConstantAndNothing) {
  const auto chart = [](std::vector<double> x, std::vector<double> y) {
    return RenderSvg({"t", "step", {{"s", "red", std::move(x), std::move(y)}}});
  };
  EXPECT_EQ(chart({}, {}), "");
  EXPECT_EQ(chart({1}, {NAN}), "");
  EXPECT_THAT(chart({1}, {2}), Not(HasSubstr("nan")));
  EXPECT_THAT(chart({1, 2}, {3, 3}), Not(HasSubstr("nan")));
  EXPECT_THAT(chart({1, 2, 3}, {0, NAN, 1}), Not(HasSubstr("nan")));
}

TEST(ReportTest, IsSelfContainedAndEscapesWhatTheModelSays) {
  MetricsHistory history;
  for (int i = 1; i <= 200; ++i) {
    StepRecord r;
    r.step = i;
    r.loss = 2 + 2 * std::exp(-i / 40.0) + 0.2 * std::sin(i * 12.9898);
    r.grad_norm = 0.5 + 0.4 * std::cos(i * 7.3);
    r.learning_rate = 2e-4 * std::min(1.0, i / 6.0) * (1 + std::cos(M_PI * i / 200)) / 2;
    r.tokens_per_second = 12000 + 900 * std::sin(i * 3.1);
    history.steps.push_back(r);
  }
  for (const int step : {0, 100, 200}) history.evals.push_back({step, 4 - step / 100.0, 1000});
  Report report;
  report.title = "2026-11-22-tiny-orders";
  report.state = "done";
  report.headlines = {{"validation loss", "4.00 → 2.00"}, {"steps", "200"}, {"time", "0:41"}};
  report.samples = {
      {"How do I boil an egg?", "the cat sat on <script>alert(1)</script>", "Steps:\n1."}};
  report.tables = {{"Data", {{"documents", "300"}}, false},
                   {"Options", {{"--lora_r", "16"}}, true}};
  const std::string html = RenderReport(report, history);
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;alert(1)"));
  EXPECT_THAT(html, Not(HasSubstr("<script")));
  EXPECT_THAT(html, Not(HasSubstr("http")));
  EXPECT_THAT(html, HasSubstr("Learning rate"));
  EXPECT_THAT(html, HasSubstr("4.00 → 2.00"));
  const char* keep = std::getenv("TEST_UNDECLARED_OUTPUTS_DIR");
  if (keep != nullptr) {
    ASSERT_TRUE(WriteFileAtomically(absl::StrCat(keep, "/report.html"), html).ok());
  }
}

}  // namespace
}  // namespace lockstep
