#include "tests/fault_suite.h"

#include <gmock/gmock.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/file.h"
#include "dist/testing.h"
#include "tensor/runtime.h"
#include "tests/process_faults.h"
#include "tests/tiny_model.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/report/metrics.h"

namespace lockstep {
namespace {

using namespace std::chrono_literals;  // NOLINT
using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;
using Flags = std::vector<std::string>;

// Files there; other processes of the machine have some too.
std::set<std::string> SharedMemory() {
  std::set<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm", error)) {
    names.insert(entry.path());
  }
  return names;
}

// Of all GPUs.
int64_t FreeGpuBytes() {
  int64_t bytes = 0;
  for (int gpu = 0; gpu < CudaDeviceCount(); ++gpu) {
    bytes += (*Runtime::Open({DeviceType::kCUDA, static_cast<int8_t>(gpu)}))->FreeBytes();
  }
  return bytes;
}

template <typename Condition>
bool SoonTrue(const Condition& condition) {
  for (int i = 0; i < 500 && !condition(); ++i) std::this_thread::sleep_for(10ms);
  return condition();
}

// What the parent said of how long a heartbeat was missing.
double SecondsWithoutHeartbeat(const std::string& report) {
  const std::string words = "no heartbeat for ";
  const size_t at = report.find(words);
  double seconds = 1e9;
  if (at == std::string::npos) return seconds;
  const size_t begin = at + words.size();
  CHECK(absl::SimpleAtod(report.substr(begin, report.find(' ', begin) - begin), &seconds));
  return seconds;
}

int64_t NewestStep(const std::string& folder) {
  const std::vector<std::string> checkpoints = *ListCheckpoints(folder + "/checkpoints");
  if (checkpoints.empty()) return -1;
  const auto state = ReadCheckpoint(checkpoints.back());
  EXPECT_TRUE(state.ok()) << state.status();
  return state.ok() ? state->step : -1;
}

void ExpectEachStepOnce(const std::string& folder) {
  const auto history = ParseMetrics(ReadFile(folder + "/metrics.jsonl").value_or(""), "", 1e9);
  ASSERT_TRUE(history.ok()) << history.status();
  int64_t step = 0;
  for (const StepRecord& record : history->steps) ASSERT_EQ(record.step, ++step);
  EXPECT_GE(step, 6);
}

void SkipWithout(const FaultDevice& device) {
  if (device.name == "Gpu" && dist::MostGpuRanks() < device.ranks) {
    GTEST_SKIP() << "needs " << device.ranks << " GPUs, got " << CudaDeviceCount();
  }
}

}  // namespace

Flags FaultSuite::FlagsFor(const FaultDevice& device, const std::string& folder,
                           const Flags& more) const {
  Flags flags = {"--model=" + input_.model,
                 "--train_file=" + input_.documents,
                 "--output_dir=" + folder,
                 device.flag,
                 "--validation_split=0",
                 "--max_steps=20000",
                 "--global_batch_size=64",  // or some ranks would have no pack
                 "--save_steps=3",
                 "--save_total_limit=2",
                 "--lora_r=4",
                 "--num_threads=1",
                 absl::StrCat("--stall_timeout=", kStallTimeout)};
  flags.insert(flags.end(), more.begin(), more.end());
  return flags;
}

void FaultTest::SetUp() {
  if (!GetParam().fault.possible) GTEST_SKIP() << "this machine does not let a test do that";
  SkipWithout(GetParam().device);
}
void LauncherFaultTest::SetUp() { SkipWithout(GetParam()); }

// On another number of ranks, until it has saved again.
void FaultTest::ExpectGoesOn(const std::string& folder) const {
  const auto& [device, fault] = GetParam();
  Flags flags = FlagsFor(device, folder, fault.flags);
  flags.push_back(absl::StrCat("--nproc_per_node=", device.ranks - 1));
  const int64_t step = NewestStep(folder);
  TrainerProcess trainer(flags);
  const std::string next = absl::StrCat(folder, "/checkpoints/", CheckpointName(step / 3 * 3 + 3));
  EXPECT_TRUE(WaitForFile(next, 60)) << next;
  trainer.Signal(SIGTERM);
  const Outcome outcome = trainer.Wait(60);
  EXPECT_EQ(outcome.exit_code, 143) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr(absl::StrCat("goes on after step ", step)));
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/checkpoints")) {
    EXPECT_THAT(entry.path().filename().string(), ::testing::StartsWith("step-"));
  }
  ExpectEachStepOnce(folder);
}

TEST_P(FaultTest, EndsAsPromised) {
  const auto& [device, fault] = GetParam();
  const std::set<std::string> shared_memory = SharedMemory();
  const int64_t gpu_memory = FreeGpuBytes() - (int64_t{256} << 20);
  const std::string output_dir = FreshPath("run");
  Flags flags = FlagsFor(device, output_dir, fault.flags);
  flags.push_back(absl::StrCat("--nproc_per_node=", device.ranks));
  TrainerProcess trainer(flags);
  const pid_t group = trainer.pid();
  if (!WaitForFile(output_dir + "/checkpoints/" + CheckpointName(3), 60)) {
    trainer.SignalAll(SIGKILL);
    const Outcome outcome = trainer.Wait();
    FAIL() << "it does not train:\n" << outcome.err << outcome.out;
  }

  std::this_thread::sleep_for(1s);  // for a few heartbeats: a step takes some milliseconds

  const bool is_removed = absl::StrContains(fault.name, "removed");
  const std::string folder = is_removed ? output_dir + "-moved" : output_dir;
  const Clock::time_point start = Clock::now();
  fault.plant({trainer, folder, output_dir});
  const Outcome outcome = trainer.Wait(60);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::printf("%s: exit code %d after %.1f s\n%s", fault.name.c_str(), outcome.exit_code, seconds,
              outcome.err.c_str());

  // Of the terminal only the end: the rest are steps.
  const size_t end = outcome.out.size() - std::min<size_t>(outcome.out.size(), 500);
  const std::string said = outcome.err + outcome.out.substr(end);
  EXPECT_EQ(outcome.exit_code, fault.exit_code) << said;
  EXPECT_LT(seconds, fault.detection_s + 10);
  for (const std::string& words : fault.says) EXPECT_THAT(said, HasSubstr(words));
  EXPECT_LE(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 15) << outcome.err;
  if (fault.detection_s > 0) {
    EXPECT_LE(SecondsWithoutHeartbeat(outcome.err), fault.detection_s);
  }

  // Orphans end, and GPUs are cleared, a moment later.
  EXPECT_TRUE(SoonTrue([&] { return !GroupLives(group); })) << "a process stays behind";
  EXPECT_TRUE(SoonTrue([&] { return FreeGpuBytes() >= gpu_memory; })) << "GPU memory stays behind";
  EXPECT_TRUE(SoonTrue([&] {
    const std::set<std::string> now = SharedMemory();
    return std::includes(shared_memory.begin(), shared_memory.end(), now.begin(), now.end());
  })) << "shared memory stays behind";
  ASSERT_GE(NewestStep(folder), 3);
  const std::string interrupted = "interrupted after step ";
  if (absl::StrContains(outcome.out, interrupted)) {  // saved before it ended
    EXPECT_THAT(outcome.out, HasSubstr(absl::StrCat(interrupted, NewestStep(folder), ";")));
  }
  ExpectGoesOn(folder);
}

// Each rank has a file of its own, as on nodes whose copies differ.
TEST_P(LauncherFaultTest, DifferentDataOnOneRankIsNamed) {
  const FaultDevice& device = GetParam();
  const std::string other = FreshPath("other") + ".jsonl";
  WriteUnevenDocuments(other, 121, 300);
  const std::string folder = FreshPath("run");
  const int port = FreshPort();
  std::vector<std::unique_ptr<TrainerProcess>> ranks;
  for (int rank = 0; rank < device.ranks; ++rank) {
    Flags flags = FlagsFor(device, folder, {});
    if (rank == 1) flags[1] = "--train_file=" + other;
    ranks.push_back(std::make_unique<TrainerProcess>(flags, "/dev/null",
                                                     TorchrunVariables(rank, device.ranks, port)));
  }
  for (const auto& rank : ranks) {
    const Outcome outcome = rank->Wait(60);
    EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(device.ranks > 2 ? "ranks 0, 2 have " : "rank 0 has "));
    EXPECT_THAT(outcome.err, HasSubstr("rank 1 has "));
  }
  EXPECT_FALSE(FileExists(folder)) << "a refused run leaves nothing";
}

std::vector<FaultCase> FaultCasesOn(const FaultDevice& device) {
  std::vector<FaultCase> cases;
  for (const Fault& fault : FaultsOn(device)) cases.push_back({device, fault});
  return cases;
}

void PrintTo(const FaultCase& c, std::ostream* os) { *os << c.fault.name; }

std::string NameOfCase(const ::testing::TestParamInfo<FaultCase>& info) {
  std::string name;
  for (const char c : info.param.fault.name) name += absl::ascii_isalnum(c) ? c : '_';
  return name;
}

}  // namespace lockstep
