// Kills, again and again: a random rank or the parent at a random instant, going on with a random
// number of ranks. Nothing may be lost: every run that comes to its end has the same adapter and
// the same figures, to the last bit, as the one that nothing happened to.
//
//   bazel test --config=cpu //tests:soak_test --test_output=all --test_env=SOAK_KILLS=200
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/file.h"
#include "tests/process_faults.h"
#include "tests/run_result.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"
#include "trainer/checkpoint/checkpoint.h"

namespace lockstep {
namespace {

using Flags = std::vector<std::string>;

constexpr int kSteps = 240;

class Soak {
 public:
  Soak() {
    folder_ = FreshPath("whole");
    const Outcome outcome = Train(FlagsFor(2));
    CHECK_EQ(outcome.exit_code, 0) << outcome.err;
    want_ = Result();
    folder_ = FreshPath("soak");
  }

  // Starts or goes on, and kills. True if the run came to its end before.
  bool Kill() {
    const int ranks = static_cast<int>(1 + random_() % 4);
    TrainerProcess trainer(FlagsFor(ranks));
    const pid_t group = trainer.pid();
    std::this_thread::sleep_for(std::chrono::milliseconds(random_() % 2000));
    const int victim =
        static_cast<int>(random_() % static_cast<unsigned>(ranks + 1));        // a rank, or
    const pid_t pid = victim == ranks ? group : RankProcessId(group, victim);  // the parent
    if (pid > 0) kill(pid, SIGKILL);
    const Outcome outcome = trainer.Wait(60);
    const int want = victim == ranks ? -SIGKILL : 3;
    if (outcome.exit_code == 0) return true;
    EXPECT_EQ(outcome.exit_code, want) << outcome.err;
    ++kills_[victim == ranks ? "the parent" : absl::StrCat("rank ", victim)];
    for (int i = 0; i < 1000 && GroupLives(group); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_FALSE(GroupLives(group)) << "a process stays behind";
    const std::vector<std::string> checkpoints = *ListCheckpoints(folder_ + "/checkpoints");
    for (const std::string& checkpoint : checkpoints) {
      EXPECT_TRUE(ReadCheckpoint(checkpoint).ok()) << checkpoint;
    }
    return false;
  }

  void CompareAndBeginAnew() {
    ++runs_;
    SCOPED_TRACE(runs_);
    ExpectSame(Result(), want_);
    folder_ = FreshPath("soak");
  }

  void GoOnToTheEnd() {
    const Outcome outcome = Train(FlagsFor(3));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    CompareAndBeginAnew();
  }

  int kills() const {
    int sum = 0;
    for (const auto& [who, count] : kills_) sum += count;
    return sum;
  }
  std::string Summary() const {
    std::string text = absl::StrCat(kills(), " kills in ", runs_, " runs:");
    for (const auto& [who, count] : kills_) absl::StrAppend(&text, " ", who, " ", count, ",");
    text.back() = '\n';
    return text;
  }

 private:
  Flags FlagsFor(int ranks) const {
    return {"--model=" + input_.model,
            "--train_file=" + input_.documents,
            "--output_dir=" + folder_,
            "--validation_split=0.1",
            absl::StrCat("--max_steps=", kSteps),
            "--eval_steps=10",
            "--save_steps=3",
            "--save_total_limit=2",
            "--lora_dropout=0.1",
            "--learning_rate=1e-2",
            "--lora_r=4",
            "--num_threads=1",
            absl::StrCat("--nproc_per_node=", ranks)};
  }

  // Of a run that is over: it has noted each step once.
  RunResult Result() const {
    const RunResult result = ResultIn(folder_);
    const std::vector<std::string> pieces = absl::StrSplit(result.figures, ",\"epoch\":");
    CHECK_EQ(std::ssize(pieces) - 1, kSteps) << "lines of steps in " << folder_;
    return result;
  }

  const TinyInput input_ = MakeTinyInput(120, 300);
  std::string folder_;
  RunResult want_;
  std::mt19937 random_{20261122};
  std::map<std::string, int> kills_;
  int runs_ = 0;
};

TEST(SoakTest, KillsLoseNothing) {
  int kills = 200;
  if (const char* wanted = std::getenv("SOAK_KILLS")) CHECK(absl::SimpleAtoi(wanted, &kills));
  Soak soak;
  while (soak.kills() < kills && !::testing::Test::HasFailure()) {
    if (soak.Kill()) soak.CompareAndBeginAnew();
  }
  soak.GoOnToTheEnd();
  std::printf("%s", soak.Summary().c_str());
}

}  // namespace
}  // namespace lockstep
