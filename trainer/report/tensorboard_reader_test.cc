// A run's event files, read back by the real TensorBoard. Skips where pip could not fetch it.

#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "trainer/report/run_log.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

// Wheels are zip archives; numpy's has shared libraries, which Python loads from files only.
constexpr char kUnpack[] = R"(
import glob, sys, zipfile
wheels = glob.glob("external/pypi_tensorboard/*.whl")
for wheel in wheels:
    zipfile.ZipFile(wheel).extractall(sys.argv[1])
sys.exit(0 if wheels and sys.version_info[:2] == (3, 11) else 3)
)";

constexpr char kRead[] = R"(
import sys
sys.path.insert(0, sys.argv[1])
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[2])
events.Reload()
for tag in sorted(events.Tags()["scalars"]):
    print(tag, [(e.step, e.value) for e in events.Scalars(tag)])
)";

// Runs Debian's python3 with a script and arguments; standard output goes to `output`. Returns the
// exit code.
int Python(const std::string& script, const std::string& arguments, std::string* output) {
  const std::string file = ::testing::TempDir() + "/script.py";
  EXPECT_TRUE(WriteFileAtomically(file, script).ok());
  FILE* pipe = popen(("/usr/bin/python3 " + file + " " + arguments).c_str(), "r");
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) output->append(buffer, n);
  const int status = pclose(pipe);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(TensorboardReader, ReadsOurScalars) {
  const std::string site = ::testing::TempDir() + "/site";
  const std::string run = ::testing::TempDir() + "/run";
  std::string output;
  if (const int code = Python(kUnpack, site, &output); code != 0) {
    GTEST_SKIP() << "TensorBoard's packages are not here: pip could not fetch them, or there is no "
                    "Python 3.11 in /usr/bin (exit code "
                 << code << ")";
  }
  ASSERT_TRUE(MakeDirectories(run + "/logs").ok());
  StepRecord step;
  step.tokens = 4096;
  step.supervised_tokens = 812;
  step.step_time_s = 0.5;
  {
    const auto log =
        RunLog::Open(run, /*last_step=*/-1, /*last_eval=*/-1, /*num_steps=*/9, /*logging_steps=*/0);
    ASSERT_TRUE(log.ok()) << log.status();
    ASSERT_TRUE((*log)->Add(EvalRecord{0, 3, 77}).ok());
    for (const auto& [number, loss] : {std::pair{1, 2.5}, {2, 9.0}, {3, 9.5}}) {
      step.step = number;
      step.loss = loss;
      ASSERT_TRUE((*log)->Add(step).ok());
    }
  }
  {
    const auto resumed =
        RunLog::Open(run, /*last_step=*/1, /*last_eval=*/1, /*num_steps=*/9, /*logging_steps=*/0);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    step.step = 2;
    step.loss = 0.25;
    ASSERT_TRUE((*resumed)->Add(step).ok());
  }
  ASSERT_EQ(Python(kRead, site + " " + run + "/tensorboard", &output), 0) << output;
  EXPECT_THAT(output,
              HasSubstr("train/loss [(1, 2.5), (2, 0.25)]\n"));  // not what came after step 1
  EXPECT_THAT(output, HasSubstr("eval/loss [(0, 3.0)]\n"));
  // All of metrics.jsonl is there.
  EXPECT_THAT(output, HasSubstr("eval/supervised_tokens [(0, 77.0)]\n"));
  EXPECT_THAT(output, HasSubstr("train/tokens [(1, 4096.0), (2, 4096.0)]\n"));
  EXPECT_THAT(output, HasSubstr("train/supervised_tokens [(1, 812.0), (2, 812.0)]\n"));
  EXPECT_THAT(output, HasSubstr("train/step_time_s [(1, 0.5), (2, 0.5)]\n"));
}

}  // namespace
}  // namespace lockstep
