// A run that is killed at any instant and goes on, on any number of ranks, ends with the same bytes
// as one that was never killed.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/hash.h"
#include "tests/process_faults.h"
#include "tests/run_result.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"
#include "trainer/checkpoint/checkpoint.h"

namespace lockstep {
namespace {

using Flags = std::vector<std::string>;

class ResumeTest : public ::testing::Test {
 protected:
  Flags FlagsFor(const std::string& folder, int ranks) const {
    return {"--model=" + input_.model, "--train_file=" + input_.documents,
            "--output_dir=" + folder,  "--validation_split=0.1",
            "--global_batch_size=16",  "--max_steps=30",
            "--eval_steps=10",         "--save_steps=3",
            "--save_total_limit=2",    "--lora_dropout=0.1",
            "--learning_rate=1e-2",    "--lora_r=4",
            "--num_threads=1",         absl::StrCat("--nproc_per_node=", ranks)};
  }

  // The run that nothing happened to.
  std::string WholeRun() const {
    static const std::string adapter = [this] {
      const std::string folder = FreshPath("whole");
      const Outcome outcome = Train(FlagsFor(folder, 2));
      EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
      return TrainedIn(folder);
    }();
    EXPECT_FALSE(adapter.empty());
    return adapter;
  }

  // Each step and each evaluation once, in order.
  static void ExpectEachStepOnce(const std::string& folder) {
    const std::string text = ReadFile(folder + "/metrics.jsonl").value_or("");
    size_t at = 0;
    const auto once = [&](int step, const char* key) {
      const std::string line = absl::StrCat("{\"step\":", step, ",\"", key, "\"");
      at = text.find(line, at);
      ASSERT_NE(at, std::string::npos) << line << " is missing or out of order\n" << text;
      ASSERT_EQ(text.find(line, at + 1), std::string::npos) << line << " is there twice";
    };
    for (int step = 0; step <= 30; ++step) {
      if (step > 0) once(step, "epoch");
      if (step % 10 == 0) once(step, "eval_loss");
    }
    EXPECT_EQ(Occurrences(text, "\"eval_loss\""), 4) << text;
  }

  static int Occurrences(const std::string& text, const std::string& words) {
    int count = 0;
    for (size_t at = text.find(words); at != std::string::npos; at = text.find(words, at + 1)) {
      ++count;
    }
    return count;
  }

  // Until a checkpoint is being written; false: the time is over.
  static bool WaitForUnfinished(const std::string& checkpoints, double timeout_s) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(timeout_s);
    while (std::chrono::steady_clock::now() < end) {
      std::error_code gone_meanwhile;
      for (const auto& entry : std::filesystem::directory_iterator(checkpoints, gone_meanwhile)) {
        if (absl::StartsWith(entry.path().filename().string(), ".unfinished-")) return true;
      }
    }
    return false;
  }

  const TinyInput input_ = MakeTinyInput(120, 300);
};

TEST_F(ResumeTest, KilledAtAnyInstantGoesOnOnAnotherNumberOfRanks) {
  const std::string folder = FreshPath("killed");
  uint64_t random = 7;  // where the kills fall; any instant must do
  const int ranks_of_attempt[] = {2, 3, 1, 4, 2};
  for (int attempt = 0; attempt < 5; ++attempt) {
    random = MixKeys(random, 1);
    TrainerProcess trainer(FlagsFor(folder, ranks_of_attempt[attempt]));
    std::this_thread::sleep_for(std::chrono::milliseconds(200 + random % 900));
    trainer.SignalAll(SIGKILL);
    trainer.Wait();
  }
  const Outcome outcome = Train(FlagsFor(folder, 3));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
  EXPECT_TRUE(TrainedIn(folder) == WholeRun()) << "the adapters differ";
  ExpectEachStepOnce(folder);
}

TEST_F(ResumeTest, InterruptedWritesACheckpointAndSaysSo) {
  signal(SIGHUP, SIG_DFL);  // or what runs the tests may have it ignored, as nohup does
  for (const auto& [signal, exit_code] : {std::pair{SIGINT, 130}, {SIGTERM, 143}, {SIGHUP, 129}}) {
    const std::string folder = FreshPath("interrupted");
    Flags first = FlagsFor(folder, 2);
    first.push_back("--resume_from_checkpoint=none");
    TrainerProcess trainer(first);
    ASSERT_TRUE(WaitForFile(folder + "/checkpoints/step-00000003", 60));
    trainer.SignalAll(signal);
    const Outcome stopped = trainer.Wait();
    if (stopped.exit_code == 0) continue;  // the run was faster than the signal
    ASSERT_EQ(stopped.exit_code, exit_code) << stopped.out << stopped.err;
    EXPECT_TRUE(absl::StrContains(stopped.out, "interrupted after step")) << stopped.out;
    EXPECT_TRUE(absl::StrContains(stopped.out, " --resume_from_checkpoint=auto goes on from there"))
        << "the same command alone would be refused: " << stopped.out;
    const Outcome outcome = Train(FlagsFor(folder, 1));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    EXPECT_TRUE(absl::StrContains(outcome.out, "goes on after step")) << outcome.out;
    EXPECT_TRUE(TrainedIn(folder) == WholeRun()) << "the adapters differ";
    ExpectEachStepOnce(folder);
  }
}

TEST_F(ResumeTest, TheParentStartsALostRunAgain) {
  struct Case {
    std::string resume, lost_at;
    bool goes_on;  // or begins anew: there is no checkpoint yet
  };
  for (const Case& c : {Case{"auto", "/checkpoints/step-00000003", true},
                        {"none", "/checkpoints/step-00000003", true},
                        {"none", "/run.json", false}}) {
    const std::string folder = FreshPath("restarted");
    Flags flags = FlagsFor(folder, 3);
    flags.push_back("--max_restarts=2");
    flags.push_back("--resume_from_checkpoint=" + c.resume);
    if (!c.goes_on) flags.push_back("--save_steps=0");
    TrainerProcess trainer(flags);
    ASSERT_TRUE(WaitForFile(folder + c.lost_at, 60));
    const pid_t rank = RankProcessId(trainer.pid(), 1);
    ASSERT_GT(rank, 0);
    kill(rank, SIGKILL);
    const Outcome outcome = trainer.Wait();
    ASSERT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    EXPECT_TRUE(absl::StrContains(outcome.err, "starts the ranks again (1 of 2)")) << outcome.err;
    EXPECT_EQ(absl::StrContains(outcome.out, "goes on after step"), c.goes_on) << outcome.out;
    EXPECT_TRUE(TrainedIn(folder) == WholeRun()) << "the adapters differ";
    ExpectEachStepOnce(folder);
  }
}

// What the bits stand on is recorded; what is another where the run goes on is named. The number of
// ranks is not among it.
TEST_F(ResumeTest, AnotherLibraryOrProcessorIsNamed) {
  const std::string folder = FreshPath("moved");
  Flags flags = FlagsFor(folder, 2);
  TrainerProcess trainer(flags);
  ASSERT_TRUE(WaitForFile(folder + "/checkpoints/step-00000003", 60));
  trainer.SignalAll(SIGKILL);
  trainer.Wait();
  std::string run = *ReadFile(folder + "/run.json");
  const std::string key = "\"provenance\": {\n    \"onednn\": \"";
  const size_t at = run.find(key);
  ASSERT_NE(at, std::string::npos) << run;
  run.insert(at + key.size(), "0.");
  ASSERT_TRUE(WriteFileAtomically(folder + "/run.json", run).ok());
  const Outcome outcome = Train(FlagsFor(folder, 3));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
  EXPECT_TRUE(absl::StrContains(outcome.out, "warning: onednn was 0.")) << outcome.out;
  EXPECT_FALSE(absl::StrContains(outcome.out, "warning: ranks")) << outcome.out;
  EXPECT_TRUE(TrainedIn(folder) == WholeRun()) << "the adapters differ";
}

// Where ranks share the update, each has its own part of the moments.
TEST_F(ResumeTest, FullTrainingGoesOnOnAnotherNumberOfRanks) {
  const std::string model = FreshPath("wide");
  WriteTinyModel(model, 1, /*mlp=*/1024);
  const auto flags = [&](const std::string& folder, int ranks) {
    return Flags{"--model=" + model,       "--train_file=" + input_.documents,
                 "--output_dir=" + folder, "--train=full",
                 "--gradient_sum=exact",   "--max_steps=12",
                 "--save_steps=1",         "--validation_split=0",
                 "--max_seq_length=300",   "--learning_rate=1e-3",
                 "--num_threads=1",        absl::StrCat("--nproc_per_node=", ranks)};
  };
  const std::string whole = FreshPath("whole"), folder = FreshPath("killed");
  ASSERT_EQ(Train(flags(whole, 1)).exit_code, 0);
  EXPECT_FALSE(TrainedIn(whole).empty());
  // Killed while a checkpoint is written, of which all ranks have a part.
  TrainerProcess trainer(flags(folder, 3));
  ASSERT_TRUE(WaitForFile(folder + "/checkpoints/" + CheckpointName(4), 60));
  ASSERT_TRUE(WaitForUnfinished(folder + "/checkpoints", 60));
  trainer.SignalAll(SIGKILL);
  trainer.Wait();
  ASSERT_TRUE(TrainedIn(folder).empty()) << "it was not killed";
  for (const int ranks : {1, 2, 4}) {
    const std::string copy = FreshPath("copy");
    std::filesystem::copy(folder, copy, std::filesystem::copy_options::recursive);
    const Outcome outcome = Train(flags(copy, ranks));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    EXPECT_TRUE(absl::StrContains(outcome.out, "goes on after step")) << outcome.out;
    EXPECT_TRUE(TrainedIn(copy) == TrainedIn(whole)) << "the weights differ on " << ranks;
  }
}

TEST_F(ResumeTest, AFinishedRunIsLeftAlone) {
  const std::string folder = FreshPath("finished");
  ASSERT_EQ(Train(FlagsFor(folder, 1)).exit_code, 0);
  const std::string before = ReadFile(folder + "/report.html").value_or("");
  // Its documents may be written in another way.
  const std::string documents = ReadFile(input_.documents).value_or("");
  ASSERT_TRUE(WriteFileAtomically(input_.documents, "\n" + documents + "\n").ok());
  const Outcome again = Train(FlagsFor(folder, 2));
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_TRUE(absl::StrContains(again.out, "finished")) << again.out;
  EXPECT_EQ(ReadFile(folder + "/report.html").value_or(""), before);
  // Another run does not fit in.
  Flags other = FlagsFor(folder, 1);
  other.push_back("--learning_rate=2e-2");
  const Outcome refused = Train(other);
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(refused.err, "--learning_rate was \"0.01\" and is \"0.02\""))
      << refused.err;
  // Nor does the run's folder pass for a checkpoint.
  Flags from = FlagsFor(FreshPath("from"), 1);
  from.push_back("--resume_from_checkpoint=" + folder);
  EXPECT_TRUE(absl::StrContains(
      Train(from).err, "the newest of that run is " + folder + "/checkpoints/step-00000030"));
  // And another run does not go on from its checkpoints.
  from.back() += "/checkpoints/step-00000030";
  from.push_back("--learning_rate=2e-2");
  EXPECT_TRUE(absl::StrContains(Train(from).err, "holds another run: --learning_rate was"));
}

TEST_F(ResumeTest, AResultThatWasLostIsMadeAgain) {
  const std::string folder = FreshPath("lost");
  const std::string adapter = folder + "/adapter_model.safetensors";
  ASSERT_EQ(Train(FlagsFor(folder, 1)).exit_code, 0);
  ASSERT_EQ(std::remove(adapter.c_str()), 0);
  // As a kill in the middle of a write leaves them.
  for (const std::string& path : {folder + "/run.json", adapter, folder + "/tokenizer.json",
                                  folder + "/adapter_config.json"}) {
    ASSERT_TRUE(WriteFileAtomically(path + ".tmp-abcdef", "half").ok());
  }
  const Outcome again = Train(FlagsFor(folder, 2));
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_TRUE(absl::StrContains(again.out, "goes on after step 30")) << again.out;
  EXPECT_TRUE(TrainedIn(folder) == WholeRun()) << "the adapters differ";
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    EXPECT_FALSE(absl::StrContains(entry.path().string(), ".tmp-")) << entry.path();
  }
  // From the last checkpoint but one, and what was noted behind it is noted anew.
  ASSERT_EQ(std::remove(adapter.c_str()), 0);
  std::filesystem::remove_all(folder + "/checkpoints/step-00000030");
  ASSERT_EQ(Train(FlagsFor(folder, 2)).exit_code, 0);
  EXPECT_TRUE(TrainedIn(folder) == WholeRun()) << "the adapters differ";
  ExpectEachStepOnce(folder);
  const std::string times = ReadFile(folder + "/timings.jsonl").value_or("");
  for (int step = 1; step <= 30; ++step) {
    EXPECT_EQ(Occurrences(times, absl::StrCat("{\"step\":", step, ",")), 1) << times;
  }
  // Without a whole checkpoint all of it, and it is said.
  ASSERT_EQ(std::remove(adapter.c_str()), 0);
  const std::vector<std::string> checkpoints = *ListCheckpoints(folder + "/checkpoints");
  for (const std::string& checkpoint : checkpoints) {
    ASSERT_EQ(std::remove((checkpoint + "/state.json").c_str()), 0);
  }
  const Outcome anew = Train(FlagsFor(folder, 2));
  ASSERT_EQ(anew.exit_code, 0) << anew.err;
  EXPECT_TRUE(absl::StrContains(anew.out, "no checkpoint is whole: begins anew")) << anew.out;
  EXPECT_TRUE(TrainedIn(folder) == WholeRun()) << "the adapters differ";
}

TEST_F(ResumeTest, TwoRunsAtOnceDoNotShareAFolder) {
  const std::string folder = FreshPath("shared");
  Flags flags = FlagsFor(folder, 2);
  flags.push_back("--max_steps=100000");
  TrainerProcess first(flags);
  ASSERT_TRUE(WaitForFile(folder + "/checkpoints/step-00000003", 60));
  const Outcome second = Train(flags);
  EXPECT_EQ(second.exit_code, 1) << second.out;
  EXPECT_TRUE(absl::StrContains(second.err, "another process is training into this folder"))
      << second.err;
  first.Signal(SIGTERM);
  const Outcome outcome = first.Wait();
  EXPECT_EQ(outcome.exit_code, 143) << outcome.err;
}

TEST_F(ResumeTest, RunsThatStartTogetherWithoutANameHaveAFolderEach) {
  const std::string place = FreshPath("place");
  ASSERT_TRUE(MakeDirectories(place).ok());
  Flags flags = FlagsFor(/*folder=*/"", 1);
  flags.push_back("--max_steps=3");
  const std::map<std::string, std::string> variables = {{"BUILD_WORKING_DIRECTORY", place}};
  TrainerProcess first(flags, "/dev/null", variables), second(flags, "/dev/null", variables);
  for (TrainerProcess* trainer : {&first, &second}) {
    const Outcome outcome = trainer->Wait();
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
  }
  std::vector<std::string> adapters;
  for (const auto& entry : std::filesystem::directory_iterator(place + "/runs")) {
    adapters.push_back(TrainedIn(entry.path()));
  }
  ASSERT_EQ(adapters.size(), 2u);
  EXPECT_FALSE(adapters[0].empty());
  EXPECT_TRUE(adapters[0] == adapters[1]) << "the adapters differ";
}

TEST_F(ResumeTest, PacksStayAsLargeAsTheyWere) {
  const std::string folder = FreshPath("packs");
  const auto flags = [&](const std::string& packs) {
    Flags all = FlagsFor(folder, 2);
    all.push_back("--tokens_per_pack=" + packs);
    return all;
  };
  {
    TrainerProcess trainer(flags("333"));
    ASSERT_TRUE(WaitForFile(folder + "/checkpoints/step-00000003", 60));
    trainer.SignalAll(SIGKILL);
    trainer.Wait();
  }
  const Outcome refused = Train(flags("777"));
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(refused.err, "--tokens_per_pack was 333 and is 777"))
      << refused.err;
  ASSERT_EQ(Train(FlagsFor(folder, 2)).exit_code, 0);
  EXPECT_TRUE(absl::StrContains(*ReadFile(folder + "/run.json"), "\"tokens_per_pack\": 333"));
}

TEST_F(ResumeTest, ADamagedCheckpointIsPassedOver) {
  const std::string folder = FreshPath("damaged");
  {
    TrainerProcess trainer(FlagsFor(folder, 1));
    ASSERT_TRUE(WaitForFile(folder + "/checkpoints/step-00000009", 60));
    trainer.SignalAll(SIGKILL);
    trainer.Wait();
  }
  // The newest one loses a byte's value.
  std::string newest;
  for (int step = 3; step <= 30; step += 3) {
    const std::string path =
        absl::StrCat(folder, "/checkpoints/step-000000", step < 10 ? "0" : "", step);
    if (FileExists(path)) newest = path + "/state.safetensors";
  }
  std::string bytes = ReadFile(newest).value_or("");
  ASSERT_FALSE(bytes.empty());
  bytes.back() ^= 1;
  ASSERT_TRUE(WriteFileAtomically(newest, bytes).ok());
  const Outcome outcome = Train(FlagsFor(folder, 2));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(
      absl::StrContains(outcome.out, "passed over: [" + newest + "] not a whole checkpoint"))
      << outcome.out;
  EXPECT_TRUE(TrainedIn(folder) == WholeRun()) << "the adapters differ";
}

}  // namespace
}  // namespace lockstep
