// Our event files, read back by the real TensorBoard. Skips where pip could not fetch it.

#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/file.h"
#include "gtest/gtest.h"
#include "trainer/tensorboard.h"

namespace lockstep {
namespace {

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
  {
    auto file = EventFile::Create(run);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->AddScalar("train/loss", 1, 2.5).ok());
    ASSERT_TRUE((*file)->AddScalar("eval/loss", 0, 3).ok());
    ASSERT_TRUE((*file)->AddScalar("train/loss", 300, 0.25).ok());
  }
  ASSERT_EQ(Python(kRead, site + " " + run, &output), 0) << output;
  EXPECT_EQ(output, "eval/loss [(0, 3.0)]\ntrain/loss [(1, 2.5), (300, 0.25)]\n");
}

}  // namespace
}  // namespace lockstep
