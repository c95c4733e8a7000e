#include "tests/run_result.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "base/check.h"
#include "base/file.h"
#include "trainer/report/metrics.h"

namespace lockstep {

std::string TrainedIn(const std::string& folder) {
  for (const char* name : {"adapter_model.safetensors", "model.safetensors"}) {
    const auto bytes = ReadFile(JoinPath(folder, name));
    if (bytes.ok()) return *bytes;
  }
  return "";
}

RunResult ResultIn(const std::string& folder) {
  const std::string path = JoinPath(folder, "metrics.jsonl");
  const auto file = ReadFile(path);
  CHECK(file.ok()) << file.status();
  const auto history = ParseMetrics(*file, path, INT64_MAX);
  CHECK(history.ok()) << history.status();
  RunResult result = {TrainedIn(folder), ""};
  for (StepRecord record : history->steps) {
    record.step_time_s = record.tokens_per_second = 0;
    result.figures += ToJsonLine(record);
  }
  for (const EvalRecord& record : history->evals) result.figures += ToJsonLine(record);
  return result;
}

void ExpectSame(const RunResult& got, const RunResult& want) {
  EXPECT_EQ(got.figures, want.figures);
  EXPECT_FALSE(want.trained.empty()) << "nothing was trained";
  EXPECT_TRUE(got.trained == want.trained) << "what was trained differs";
}

}  // namespace lockstep
