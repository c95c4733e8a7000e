#include "trainer/report/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>

#include "base/file.h"

namespace lockstep {
namespace {

StepRecord Step(int64_t step) {
  StepRecord r;
  r.step = step;
  r.epoch = step / 7.0;
  r.loss = 1.0 / (step + 3);
  r.grad_norm = std::sqrt(step);
  r.grad_norm_clipped = 1;
  r.learning_rate = 2e-4;
  r.tokens = 100 * step;
  r.supervised_tokens = 10 * step;
  r.step_time_s = 0.25;
  r.tokens_per_second = 400.0 * step;
  return r;
}

std::string Path(const char* name) { return ::testing::TempDir() + "/" + name; }

TEST(MetricsTest, WritesOneObjectAStep) {
  EXPECT_EQ(ToJsonLine(Step(4)),
            "{\"step\":4,\"epoch\":0.5714285714285714,\"loss\":0.14285714285714285,"
            "\"grad_norm\":2,\"grad_norm_clipped\":1,\"learning_rate\":2e-04,\"tokens\":400,"
            "\"supervised_tokens\":40,"
            "\"step_time_s\":0.25,\"tokens_per_second\":1600}\n");
  EXPECT_EQ(ToJsonLine(EvalRecord{5, 1.5, 7}),
            "{\"step\":5,\"eval_loss\":1.5,\"eval_supervised_tokens\":7}\n");
}

TEST(MetricsTest, ResumingCutsOffWhatCameAfterTheCheckpoint) {
  const std::string path = Path("metrics_resume.jsonl");
  std::string until_two;
  {
    auto log = MetricsLog::Open(path, -1, -1);
    ASSERT_TRUE(log.ok()) << log.status();
    ASSERT_TRUE((*log)->Add(EvalRecord{0, 3.5, 7}).ok());
    ASSERT_TRUE((*log)->Add(Step(1)).ok());
    ASSERT_TRUE((*log)->Add(Step(2)).ok());
    ASSERT_TRUE((*log)->Add(EvalRecord{2, 3.25, 7}).ok());
    until_two = *ReadFile(path);
    ASSERT_TRUE((*log)->Add(Step(3)).ok());
  }
  const std::string whole = *ReadFile(path);
  // As a crash in the middle of a line leaves it.
  ASSERT_TRUE(WriteFileAtomically(path, whole + "{\"step\":4,\"ep").ok());
  auto log = MetricsLog::Open(path, 2, 2);
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_EQ(*ReadFile(path), until_two);
  EXPECT_EQ((*log)->history().steps.size(), 2u);
  EXPECT_EQ((*log)->history().evals.size(), 2u);
  ASSERT_TRUE((*log)->Add(Step(3)).ok());
  EXPECT_EQ(*ReadFile(path), whole);
  // A checkpoint that was written before its step was evaluated.
  const auto unevaluated = MetricsLog::Open(path, 2, 1);
  ASSERT_TRUE(unevaluated.ok()) << unevaluated.status();
  EXPECT_EQ((*unevaluated)->history().steps.size(), 2u);
  EXPECT_EQ((*unevaluated)->history().evals.size(), 1u);
}

TEST(MetricsTest, AFileThatIsGoneIsSaid) {
  const std::string path = Path("metrics_gone.jsonl");
  const auto log = MetricsLog::Open(path, -1, -1);
  ASSERT_TRUE(log.ok()) << log.status();
  ASSERT_TRUE((*log)->Add(Step(1)).ok());
  ASSERT_EQ(unlink(path.c_str()), 0);
  const absl::Status status = (*log)->Add(Step(2));
  EXPECT_THAT(status.message(), ::testing::HasSubstr("the file is gone"));
  EXPECT_THAT(status.message(), ::testing::HasSubstr(path));
}

TEST(MetricsTest, NotFiniteIsNullAndReadsBack) {
  StepRecord r = Step(1);
  r.loss = NAN;
  const std::string line = ToJsonLine(r);
  EXPECT_THAT(line, ::testing::HasSubstr("\"loss\":null"));
  const auto history = ParseMetrics(line, "m", 1);
  ASSERT_TRUE(history.ok());
  EXPECT_TRUE(std::isnan(history->steps[0].loss));
}

TEST(MetricsTest, NamesALineThatIsNoneOfOurs) {
  const auto history = ParseMetrics(ToJsonLine(Step(1)) + "hello\n", "m.jsonl", 9);
  EXPECT_THAT(history.status().message(), ::testing::HasSubstr("m.jsonl:2"));
}

}  // namespace
}  // namespace lockstep
