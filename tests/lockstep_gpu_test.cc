// The trainer on all GPUs of this machine, at least two: the same bits as on one, and what becomes
// of a run when a rank is lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "nn/safetensors.h"
#include "tensor/runtime.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"
#include "trainer/metrics.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;
using Flags = std::vector<std::string>;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Result {
  std::string adapter, figures, run;
};

class LockstepGpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (CudaDeviceCount() < 2) GTEST_SKIP() << "needs 2 GPUs, got " << CudaDeviceCount();
    WriteTinyModel(model_);
    WriteUnevenDocuments(documents_, 150, 300);
    folder_ = FreshPath("run");
  }

  Flags FlagsFor(const Flags& more) {
    folder_ = FreshPath("run");
    Flags flags = {"--model=" + model_,
                   "--train_file=" + documents_,
                   "--output_dir=" + folder_,
                   "--validation_split=0.1",
                   "--global_batch_size=37",
                   "--max_steps=8",
                   "--eval_steps=4",
                   "--tokens_per_pack=512",
                   "--max_seq_length=300",
                   "--learning_rate=1e-2",
                   "--lora_r=4",
                   "--lora_dropout=0.1",
                   "--device=cuda"};
    flags.insert(flags.end(), more.begin(), more.end());
    return flags;
  }

  Result Run(const Flags& more) {
    const Outcome outcome = Train(FlagsFor(more));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    std::string figures;
    const auto history = ParseMetrics(ReadFile(folder_ + "/metrics.jsonl").value_or(""), "", 1000);
    EXPECT_TRUE(history.ok()) << history.status();
    for (StepRecord record : history->steps) {
      record.step_time_s = record.tokens_per_second = 0;
      figures += ToJsonLine(record);
    }
    for (const EvalRecord& record : history->evals) figures += ToJsonLine(record);
    return {ReadFile(folder_ + "/adapter_model.safetensors").value_or(""), figures,
            ReadFile(folder_ + "/run.json").value_or("")};
  }

  // The process of a rank of that parent, once it is there.
  static pid_t RankOf(pid_t parent, int rank) {
    const std::string wanted = absl::StrCat("RANK=", rank);
    for (int attempt = 0; attempt < 600; ++attempt) {
      for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        int pid = 0;
        if (!absl::SimpleAtoi(entry.path().filename().string(), &pid)) continue;
        const std::string stat = ReadFile(absl::StrCat("/proc/", pid, "/stat")).value_or("");
        const size_t name_end = stat.rfind(") ");
        if (name_end == std::string::npos) continue;
        const std::vector<std::string> fields = absl::StrSplit(stat.substr(name_end + 2), ' ');
        if (fields.size() < 2 || fields[1] != absl::StrCat(parent)) continue;
        const std::string variables =
            ReadFile(absl::StrCat("/proc/", pid, "/environ")).value_or("");
        for (const auto& variable : absl::StrSplit(variables, '\0')) {
          if (variable == wanted) return pid;
        }
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return -1;
  }

  // A long run; once it trains its rank 1 gets the signal. Returns how it ended.
  Outcome Lose(int signal, double* seconds) {
    TrainerProcess trainer(FlagsFor(
        {"--nproc_per_node=2", "--max_steps=1000000", "--eval_steps=0", "--stall_timeout=4"}));
    const auto trains = [&] {
      const std::string metrics = ReadFile(folder_ + "/metrics.jsonl").value_or("");
      return std::count(metrics.begin(), metrics.end(), '\n') >= 5;
    };
    for (int i = 0; i < 600 && !trains(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    const pid_t rank = RankOf(trainer.pid(), 1);
    EXPECT_GT(rank, 0);
    if (rank > 0) kill(rank, signal);
    const auto start = Clock::now();
    const Outcome outcome = trainer.Wait(60);
    *seconds = SecondsSince(start);
    std::printf("signal %d: ended after %.2f s with %d\n%s\n", signal, *seconds, outcome.exit_code,
                outcome.err.c_str());
    return outcome;
  }

  static int64_t FreeBytes(int8_t gpu) {
    return (*Runtime::Open({DeviceType::kCUDA, gpu}))->FreeBytes();
  }

  const std::string model_ = FreshPath("model"), documents_ = FreshPath("documents") + ".jsonl";
  std::string folder_;
};

TEST_F(LockstepGpuTest, AnyNumberOfGpusGivesTheSameBits) {
  const Result one = Run({"--nproc_per_node=1"});
  EXPECT_GT(one.adapter.size(), 1000u);
  EXPECT_THAT(one.run, HasSubstr("\"bits_independent_of_ranks\": true"));
  for (const char* what : {"gpus", "cuda", "cublasLt", "cudnn", "nvidia driver", "program"}) {
    EXPECT_THAT(one.run, HasSubstr(absl::StrCat("\"", what, "\": ")));
  }
  for (int ranks = 2; ranks <= CudaDeviceCount(); ++ranks) {
    for (const char* cap : {"--bucket_cap_mb=25", "--bucket_cap_mb=0.005"}) {
      const Result several = Run({absl::StrCat("--nproc_per_node=", ranks), cap, "--verify"});
      EXPECT_EQ(several.figures, one.figures) << ranks << cap;
      EXPECT_TRUE(several.adapter == one.adapter) << ranks << cap << ": the adapters differ";
    }
  }
}

TEST_F(LockstepGpuTest, OtherSumsTrainTooAndSaySo) {
  for (const char* sum : {"--gradient_sum=fp32", "--gradient_sum=bf16"}) {
    const Result result = Run({"--nproc_per_node=2", sum});
    EXPECT_GT(result.adapter.size(), 1000u) << sum;
    EXPECT_THAT(result.run, HasSubstr("\"bits_independent_of_ranks\": false"));
  }
}

TEST_F(LockstepGpuTest, ANumberThatIsNoneOnOneRankEndsAllOfThem) {
  const std::string path = model_ + "/model.safetensors";
  std::string bytes = *ReadFile(path);
  const auto file = nn::SafetensorsFile::Open(path);
  const nn::StoredTensor* stored = (*file)->Find("model.embed_tokens.weight");
  ASSERT_NE(stored, nullptr);
  const size_t width = static_cast<size_t>(stored->shape[1]) * sizeof(float);
  const float nan = NAN;
  for (size_t i = 0; i < width; i += sizeof(nan)) {
    std::memcpy(&bytes[stored->offset + 96 * width + i], &nan, sizeof(nan));
  }
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  std::string lines;
  for (int line = 1; line <= 16; ++line) {
    absl::StrAppend(&lines, "{\"input_ids\":[5,6,", line == 11 ? 96 : 7, ",8,9,10]}\n");
  }
  ASSERT_TRUE(WriteFileAtomically(documents_, lines).ok());
  const Outcome outcome =
      Train(FlagsFor({"--nproc_per_node=2", "--validation_split=0", "--global_batch_size=16"}));
  EXPECT_EQ(outcome.exit_code, 1) << outcome.out << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr(absl::StrCat(documents_, ":11")));
}

TEST_F(LockstepGpuTest, AKilledRankEndsTheOthersAndIsNamed) {
  const int64_t before = FreeBytes(0);
  double seconds = 0;
  const Outcome outcome = Lose(SIGKILL, &seconds);
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_LT(seconds, 10);
  EXPECT_THAT(outcome.err, HasSubstr("[rank 1] was killed by signal 9"));
  EXPECT_THAT(outcome.err, HasSubstr("cuda:1"));
  EXPECT_GT(FreeBytes(0), before - (int64_t{256} << 20)) << "GPU memory stays behind";
}

TEST_F(LockstepGpuTest, AStoppedRankIsNamed) {
  double seconds = 0;
  const Outcome outcome = Lose(SIGSTOP, &seconds);
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_LT(seconds, 4 + 2 + 10);
  EXPECT_THAT(outcome.err, HasSubstr("did not arrive: rank 1"));
  EXPECT_THAT(outcome.err, HasSubstr("cuda:1"));
}

}  // namespace
}  // namespace lockstep
