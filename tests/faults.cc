#include "tests/faults.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/file.h"
#include "tests/process_faults.h"

namespace lockstep {
namespace {

using namespace std::chrono_literals;  // NOLINT

constexpr int kMarkerLength = 24;
constexpr double kLearningRate = 0.00123456789, kOtherRate = 0.00234567891;

template <typename T>
std::string BytesOf(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

// Some tokens out of the middle of a marker document, as ranks have them in memory
// (data::CachedToken: all are supervised). `id` instead of the first of them.
std::string MarkerTokens(uint32_t id) {
  std::string bytes;
  for (uint32_t i = 4; i < 16; ++i) bytes += BytesOf((i == 4 ? id : 40 + i) | uint32_t{1} << 31);
  return bytes;
}

// Rank 1's documents get another token.
void ChangeDocuments(const Victim& victim, uint32_t id) {
  EXPECT_GT(
      ReplaceInMemory(RankProcessId(victim.trainer.pid(), 1), MarkerTokens(44), MarkerTokens(id)),
      0);
}

void ChangeLearningRate(const Victim& victim) {
  EXPECT_GT(ReplaceInMemory(RankProcessId(victim.trainer.pid(), 1), BytesOf(kLearningRate),
                            BytesOf(kOtherRate)),
            0);
}

void FillTheDisk(const Victim& victim) {  // as a quota does: by the size of files
  const rlimit limit = {20'000, RLIM_INFINITY};
  const pid_t pid = RankProcessId(victim.trainer.pid(), 0);
  ASSERT_EQ(prlimit(pid, RLIMIT_FSIZE, &limit, nullptr), 0);
}

void InterruptTwice(const Victim& victim) {
  victim.SignalRank(1, SIGSTOP);  // or the run would be over before
  victim.trainer.SignalAll(SIGINT);
  std::this_thread::sleep_for(500ms);
  victim.trainer.SignalAll(SIGINT);
}

void TerminateThenKill(const Victim& victim) {
  victim.SignalRank(1, SIGSTOP);
  victim.trainer.Signal(SIGTERM);
  std::this_thread::sleep_for(1s);
  victim.trainer.Signal(SIGKILL);
}

}  // namespace

void Victim::SignalRank(int rank, int signal) const {
  const pid_t pid = RankProcessId(trainer.pid(), rank);
  ASSERT_GT(pid, 0) << "rank " << rank;
  ASSERT_EQ(kill(pid, signal), 0);
}

TinyInput MakeFaultInput() {
  TinyInput input = MakeTinyInput(120, 300);
  SetWeights(input.model, "model.embed_tokens.weight", kNanToken, NAN);
  WriteUnevenDocuments(input.documents, 120, 300, /*seed=*/2, /*vocab=*/kNanToken);
  std::string lines = *ReadFile(input.documents);
  for (int document = 0; document < kMarkerDocuments; ++document) {
    absl::StrAppend(&lines, "{\"input_ids\":[", 40);
    for (int i = 1; i < kMarkerLength; ++i) absl::StrAppend(&lines, ",", 40 + i);
    absl::StrAppend(&lines, "]}\n");
  }
  CHECK(WriteFileAtomically(input.documents, lines).ok());
  return input;
}

std::vector<Fault> FaultsOn(const FaultDevice& device) {
  std::vector<Fault> faults = {
      {"a rank is killed, as for lack of memory",
       [](const Victim& v) { v.SignalRank(1, SIGKILL); },
       3,
       {"[rank 1] was killed by signal 9", "(host ", ", pid ", device.rank_1, " at step ",
        "HINT: the same command with --output_dir=", " goes on from step-", "rank 0 was at step ",
        "out of memory"}},
      {"rank 0 is lost",
       [](const Victim& v) { v.SignalRank(0, SIGKILL); },
       3,
       {"[rank 0] was killed by signal 9", "rank 1 was at step "}},
      {"a rank crashes",
       [](const Victim& v) { v.SignalRank(1, SIGSEGV); },
       3,
       {"[rank 1] was killed by signal 11"}},
      {"a rank is stopped",
       [](const Victim& v) { v.SignalRank(1, SIGSTOP); },
       3,
       {"did not arrive: rank 1 (host ", device.rank_1, "waits: rank 0 (host ",
        "waits in all_reduce bucket ", "no heartbeat for "},
       {},
       kStallTimeout + 2},
      {"NaN on one rank",
       [](const Victim& v) { ChangeDocuments(v, kNanToken); },
       1,
       {"want a finite loss", "documents: ", ".jsonl:12", "HINT"}},
      {"one rank's parameters differ",
       ChangeLearningRate,
       1,
       {"ranks have come apart", "rank 1 has "},
       {"--learning_rate=0.00123456789"}},
      {"the network is cut",
       [](const Victim& v) { EXPECT_GT(CutConnections(RankProcessId(v.trainer.pid(), 1)), 0); },
       3,
       {"[rank 1]", "lost"},
       {},
       0,
       CanCutConnections()},
      {"the parent is killed", [](const Victim& v) { v.trainer.Signal(SIGKILL); }, -SIGKILL, {}},
      {"Ctrl-C",
       [](const Victim& v) { v.trainer.SignalAll(SIGINT); },
       130,
       {"asks the ranks to stop", "interrupted after step "}},
      {"Ctrl-C twice", InterruptTwice, 130, {"the ranks were killed"}},
      {"SIGTERM",
       [](const Victim& v) { v.trainer.Signal(SIGTERM); },
       143,
       {"interrupted after step "}},
      {"SIGTERM, and SIGKILL when the grace period is over",
       TerminateThenKill,
       -SIGKILL,
       {"asks the ranks to stop"}},
      {"the disk is full", FillTheDisk, 1, {"cannot write: File too large", "HINT"}},
      {"the output folder is removed",
       [](const Victim& v) { std::filesystem::rename(v.output_dir, v.folder); },
       1,
       {"the folder is gone", "HINT"}},
  };
  if (device.name == "Gpu") {
    // A kernel reads where there is no memory: from then on every call to the GPU fails.
    faults.push_back({"a rank's GPU is lost",
                      [](const Victim& v) { ChangeDocuments(v, 0x7FFFFFFF); },
                      3,
                      {"[rank 1]", device.rank_1, " at step "}});
  }
  return faults;
}

}  // namespace lockstep
