// Everything that can happen to a run, done to the real program: how soon it ends, with which exit
// code, what it says, that nothing stays behind, and that its newest checkpoint is whole and the
// same command goes on from it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/file.h"
#include "nn/safetensors.h"
#include "tests/process_faults.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"
#include "trainer/checkpoint.h"
#include "trainer/metrics.h"

namespace lockstep {
namespace {

using namespace std::chrono_literals;  // NOLINT
using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;
using Flags = std::vector<std::string>;

constexpr int kRanks = 3;
constexpr double kStallTimeout = 3;

// A run that trains, and what a fault may need to know of it.
struct Victim {
  TrainerProcess& trainer;
  std::string model, folder, output_dir;

  void SignalRank(int rank, int signal) const {
    const pid_t pid = RankProcessId(trainer.pid(), rank);
    ASSERT_GT(pid, 0) << "rank " << rank;
    ASSERT_EQ(kill(pid, signal), 0);
  }
};

struct Fault {
  std::string name;
  std::function<void(const Victim&)> plant;
  int exit_code;
  std::vector<std::string> says;
  Flags flags = {};
  double detection_s = 0;  // how long it may take to be noticed; from then on the run has 10 s
};

// The bytes of the first tensor of a safetensors file whose name begins and ends so.
std::string Bytes(const std::string& path, const std::string& begin, const std::string& end) {
  const auto file = nn::SafetensorsFile::Open(path);
  CHECK(file.ok()) << file.status();
  for (const nn::StoredTensor& stored : (*file)->tensors()) {
    if (!absl::StartsWith(stored.name, begin) || !absl::EndsWith(stored.name, end)) continue;
    return {reinterpret_cast<const char*>((*file)->data(stored)), stored.bytes};
  }
  LOG(FATAL) << path << " has no " << begin << "…" << end;
}

void MakeWeightNotANumber(const Victim& victim) {
  const std::string norm = Bytes(victim.model + "/model.safetensors", "model.norm", "weight");
  const std::vector<float> bad(norm.size() / sizeof(float), NAN);
  const std::string replacement(reinterpret_cast<const char*>(bad.data()), norm.size());
  EXPECT_GT(ReplaceInMemory(RankProcessId(victim.trainer.pid(), 1), norm, replacement), 0);
}

// With a learning rate of 0 they are what the checkpoint says.
void FlipABitOfTheParameters(const Victim& victim) {
  const std::string values =
      Bytes(ListCheckpoints(victim.folder + "/checkpoints").back() + "/state.safetensors",
            "values.", "lora_A.weight");
  std::string changed = values;
  changed[40] ^= 1;
  EXPECT_GT(ReplaceInMemory(RankProcessId(victim.trainer.pid(), 1), values, changed), 0);
}

void FillTheDisk(const Victim& victim) {  // as a quota does: by the size of files
  const rlimit limit = {20'000, RLIM_INFINITY};
  const pid_t pid = RankProcessId(victim.trainer.pid(), 0);
  ASSERT_EQ(prlimit(pid, RLIMIT_FSIZE, &limit, nullptr), 0);
}

const std::vector<Fault>& Faults() {
  static const auto* faults = new std::vector<Fault>{
      {"a rank is killed, as for lack of memory",
       [](const Victim& v) { v.SignalRank(1, SIGKILL); },
       3,
       {"[rank 1] was killed by signal 9", "(host ", ", pid ", ", cpu)", " at step ",
        "rank 0 was at step ", "out of memory"}},
      {"rank 0 is lost",
       [](const Victim& v) { v.SignalRank(0, SIGKILL); },
       3,
       {"[rank 0] was killed by signal 9", "rank 1 was at step "}},
      {"a rank crashes",
       [](const Victim& v) { v.SignalRank(2, SIGSEGV); },
       3,
       {"[rank 2] was killed by signal 11"}},
      {"a rank is stopped",
       [](const Victim& v) { v.SignalRank(2, SIGSTOP); },
       3,
       {"did not arrive: rank 2 (host ", "waits: rank 0 (host ", "waits: rank 1",
        "waits in all_reduce bucket ", "no heartbeat for "},
       {},
       kStallTimeout + 2},
      {"NaN on one rank", MakeWeightNotANumber, 1, {"want a finite loss", "documents: ", "HINT"}},
      {"one rank's parameters differ",
       FlipABitOfTheParameters,
       1,
       {"ranks have come apart", "ranks 0, 2 have ", "rank 1 has "},
       {"--learning_rate=0"}},
      {"the network is cut",
       [](const Victim& v) { EXPECT_GT(CutConnections(RankProcessId(v.trainer.pid(), 2)), 0); },
       3,
       {"[rank 2]", "lost"}},
      {"the parent is killed", [](const Victim& v) { v.trainer.Signal(SIGKILL); }, -SIGKILL, {}},
      {"Ctrl-C",
       [](const Victim& v) { v.trainer.SignalAll(SIGINT); },
       130,
       {"asks the ranks to stop", "interrupted after step "}},
      {"Ctrl-C twice",
       [](const Victim& v) {
         v.SignalRank(1, SIGSTOP);  // or the run would be over before
         v.trainer.SignalAll(SIGINT);
         std::this_thread::sleep_for(500ms);
         v.trainer.SignalAll(SIGINT);
       },
       130,
       {"the ranks were killed"}},
      {"SIGTERM",
       [](const Victim& v) { v.trainer.Signal(SIGTERM); },
       143,
       {"interrupted after step "}},
      {"SIGTERM, and SIGKILL when the grace period is over",
       [](const Victim& v) {
         v.SignalRank(1, SIGSTOP);
         v.trainer.Signal(SIGTERM);
         std::this_thread::sleep_for(1s);
         v.trainer.Signal(SIGKILL);
       },
       -SIGKILL,
       {"asks the ranks to stop"}},
      {"the disk is full", FillTheDisk, 1, {"cannot write: File too large", "HINT"}},
      {"the output folder is removed",
       [](const Victim& v) { std::filesystem::rename(v.output_dir, v.folder); },
       1,
       {"the folder is gone", "HINT"}},
  };
  return *faults;
}

std::set<std::string> SharedMemory() {
  std::set<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm", error)) {
    names.insert(entry.path());
  }
  return names;
}

class FaultTestBase : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    model_ = new std::string(FreshPath("model"));
    documents_ = new std::string(FreshPath("documents") + ".jsonl");
    WriteTinyModel(*model_);
    WriteUnevenDocuments(*documents_, 120, 300);
  }

  static Flags FlagsFor(const std::string& folder, int ranks, const Flags& more) {
    Flags flags = {"--model=" + *model_,
                   "--train_file=" + *documents_,
                   "--output_dir=" + folder,
                   "--validation_split=0",
                   "--max_steps=1000000",
                   "--save_steps=3",
                   "--save_total_limit=2",
                   "--lora_r=4",
                   "--num_threads=1",
                   absl::StrCat("--stall_timeout=", kStallTimeout),
                   absl::StrCat("--nproc_per_node=", ranks)};
    flags.insert(flags.end(), more.begin(), more.end());
    return flags;
  }

  static int64_t NewestStep(const std::string& folder) {
    const std::vector<std::string> checkpoints = ListCheckpoints(folder + "/checkpoints");
    if (checkpoints.empty()) return -1;
    const auto state = ReadCheckpoint(checkpoints.back());
    EXPECT_TRUE(state.ok()) << state.status();
    return state.ok() ? state->step : -1;
  }

  // On another number of ranks, until it has saved again.
  static void ExpectGoesOn(const std::string& folder, const Flags& more) {
    const int64_t step = NewestStep(folder);
    TrainerProcess trainer(FlagsFor(folder, 2, more));
    const std::string next =
        absl::StrCat(folder, "/checkpoints/", CheckpointName(step / 3 * 3 + 3));
    EXPECT_TRUE(WaitForFile(next, 60)) << next;
    trainer.Signal(SIGTERM);
    const Outcome outcome = trainer.Wait(60);
    EXPECT_EQ(outcome.exit_code, 143) << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr(absl::StrCat("goes on after step ", step)));
    for (const auto& entry : std::filesystem::directory_iterator(folder + "/checkpoints")) {
      EXPECT_THAT(entry.path().filename().string(), ::testing::StartsWith("step-"));
    }
  }

  static std::string* model_;
  static std::string* documents_;
};
std::string* FaultTestBase::model_ = nullptr;
std::string* FaultTestBase::documents_ = nullptr;

class FaultTest : public FaultTestBase, public ::testing::WithParamInterface<Fault> {};
class LauncherFaultTest : public FaultTestBase {};

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

TEST_P(FaultTest, EndsAsPromised) {
  const Fault& fault = GetParam();
  const std::set<std::string> shared_memory = SharedMemory();
  const std::string output_dir = FreshPath("run");
  TrainerProcess trainer(FlagsFor(output_dir, kRanks, fault.flags));
  const pid_t group = trainer.pid();
  ASSERT_TRUE(WaitForFile(output_dir + "/checkpoints/" + CheckpointName(3), 60));

  std::this_thread::sleep_for(1s);  // for a few heartbeats: a step takes some milliseconds

  const bool is_removed = absl::StrContains(fault.name, "removed");
  const std::string folder = is_removed ? output_dir + "-moved" : output_dir;
  const Clock::time_point start = Clock::now();
  fault.plant({trainer, *model_, folder, output_dir});
  const Outcome outcome = trainer.Wait(60);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::printf("%s: exit code %d after %.1f s\n%s", fault.name.c_str(), outcome.exit_code, seconds,
              outcome.err.c_str());

  EXPECT_EQ(outcome.exit_code, fault.exit_code) << outcome.out << outcome.err;
  EXPECT_LT(seconds, fault.detection_s + 10);
  for (const std::string& words : fault.says) {
    EXPECT_THAT(outcome.err + outcome.out, HasSubstr(words));
  }
  EXPECT_LE(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 15) << outcome.err;
  if (fault.detection_s > 0) {
    EXPECT_LE(SecondsWithoutHeartbeat(outcome.err), fault.detection_s);
  }

  bool lives = true;
  for (int i = 0; i < 500 && lives; ++i) {  // orphans end a moment later
    lives = GroupLives(group);
    if (lives) std::this_thread::sleep_for(10ms);
  }
  EXPECT_FALSE(lives) << "a process stays behind";
  EXPECT_EQ(SharedMemory(), shared_memory);
  ASSERT_GE(NewestStep(folder), 3);
  const std::string interrupted = "interrupted after step ";
  if (absl::StrContains(outcome.out, interrupted)) {  // saved before it ended
    EXPECT_THAT(outcome.out, HasSubstr(absl::StrCat(interrupted, NewestStep(folder), ";")));
  }
  ExpectGoesOn(folder, fault.flags);
}

// Started by a launcher, each with a file of its own, as on nodes whose copies differ.
TEST_F(LauncherFaultTest, DifferentDataOnOneRankIsNamed) {
  const std::string other = FreshPath("other") + ".jsonl";
  WriteUnevenDocuments(other, 121, 300);
  const std::string folder = FreshPath("run");
  std::vector<std::unique_ptr<TrainerProcess>> ranks;
  for (int rank = 0; rank < kRanks; ++rank) {
    Flags flags = FlagsFor(folder, kRanks, {});
    flags.pop_back();  // the number of ranks is the launcher's
    if (rank == 1) flags[1] = "--train_file=" + other;
    const std::map<std::string, std::string> variables = {
        {"RANK", absl::StrCat(rank)},         {"LOCAL_RANK", absl::StrCat(rank)},
        {"WORLD_SIZE", absl::StrCat(kRanks)}, {"LOCAL_WORLD_SIZE", absl::StrCat(kRanks)},
        {"MASTER_ADDR", "127.0.0.1"},         {"MASTER_PORT", "29517"},
        {"TORCHELASTIC_RUN_ID", "fault"}};
    ranks.push_back(std::make_unique<TrainerProcess>(flags, "/dev/null", variables));
  }
  for (const auto& rank : ranks) {
    const Outcome outcome = rank->Wait(60);
    EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("ranks 0, 2 have "));
    EXPECT_THAT(outcome.err, HasSubstr("rank 1 has "));
  }
  EXPECT_FALSE(FileExists(folder)) << "a refused run leaves nothing";
}

INSTANTIATE_TEST_SUITE_P(All, FaultTest, ::testing::ValuesIn(Faults()), [](const auto& info) {
  std::string name;
  for (const char c : info.param.name) name += absl::ascii_isalnum(c) ? c : '_';
  return name;
});

}  // namespace
}  // namespace lockstep
