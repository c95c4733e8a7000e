#include "tests/figures.h"

#include <cstdint>

#include "base/check.h"
#include "base/file.h"
#include "trainer/report/metrics.h"

namespace lockstep {

std::string FiguresIn(const std::string& folder) {
  const std::string path = folder + "/metrics.jsonl";
  const auto file = ReadFile(path);
  CHECK(file.ok()) << file.status();
  const auto history = ParseMetrics(*file, path, INT64_MAX);
  CHECK(history.ok()) << history.status();
  std::string text;
  for (StepRecord record : history->steps) {
    record.step_time_s = record.tokens_per_second = 0;
    text += ToJsonLine(record);
  }
  for (const EvalRecord& record : history->evals) text += ToJsonLine(record);
  return text;
}

}  // namespace lockstep
