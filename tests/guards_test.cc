// What the trainer does with steps that are not as they should be, and whom it names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/file.h"
#include "nn/optim/lr_schedule.h"
#include "tests/run_result.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/report/metrics.h"

namespace lockstep {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

using Flags = std::vector<std::string>;

constexpr int kDocuments = 40, kOddLine = 30, kOddToken = 96;

// The tiny model with every element of `tensor`, or of one of its rows, set to `value`.
std::string Model(const std::string& tensor, int row, float value) {
  const std::string folder = FreshPath("model");
  WriteTinyModel(folder);
  if (tensor.empty()) return folder;
  SetWeights(folder, tensor, row, value);
  return folder;
}

// Documents that all say the same but for the odd one, the only one that has kOddToken.
std::string Documents() {
  std::string lines;
  for (int line = 1; line <= kDocuments; ++line) {
    absl::StrAppend(&lines, "{\"input_ids\":[3");
    for (int i = 1; i < 24; ++i) {
      const int odd = i == 5 ? kOddToken : (i * i * 31 + 11) % 90;
      absl::StrAppend(&lines, ",", line == kOddLine ? odd : 5 + i % 2);
    }
    absl::StrAppend(&lines, "]}\n");
  }
  const std::string path = FreshPath("documents") + ".jsonl";
  CHECK(WriteFileAtomically(path, lines).ok());
  return path;
}

class GuardsTest : public ::testing::Test {
 protected:
  Outcome Run(const std::string& model, int ranks, const Flags& more) {
    folder_ = FreshPath("run");
    Flags flags = {"--model=" + model,        "--train_file=" + documents_,
                   "--output_dir=" + folder_, "--validation_split=0",
                   "--global_batch_size=4",   "--num_train_epochs=1",
                   "--learning_rate=1e-2",    "--lora_r=4",
                   "--num_threads=1",         absl::StrCat("--nproc_per_node=", ranks)};
    flags.insert(flags.end(), more.begin(), more.end());
    return Train(flags);
  }
  std::vector<StepRecord> Steps() const {
    const std::string text = ReadFile(folder_ + "/metrics.jsonl").value_or("");
    const auto history = ParseMetrics(text, "metrics.jsonl", INT64_MAX);
    EXPECT_TRUE(history.ok()) << history.status();
    return history->steps;
  }
  std::string OddDocument() const { return absl::StrCat("documents: ", documents_, ":", kOddLine); }

  const std::string documents_ = Documents();
  std::string folder_;
};

constexpr char kEmbedding[] = "model.embed_tokens.weight";

TEST_F(GuardsTest, NotFiniteStopsAndNamesTheDocument) {
  const std::string model = Model(kEmbedding, kOddToken, NAN);
  for (const int ranks : {1, 3}) {
    for (const char* sum : {"--gradient_sum=exact", "--gradient_sum=fp32"}) {
      const Outcome outcome = Run(model, ranks, {sum});
      EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
      EXPECT_THAT(outcome.err, AllOf(HasSubstr("want a finite loss and gradient"),
                                     HasSubstr(OddDocument() + "\nHINT")));
      EXPECT_LE(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 15) << outcome.err;
    }
  }
}

TEST_F(GuardsTest, NotFiniteCanBeSkipped) {
  const std::string model = Model(kEmbedding, kOddToken, NAN);
  std::string adapter;
  for (const int ranks : {1, 3}) {
    const Outcome outcome = Run(model, ranks, {"--on_nonfinite=skip"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_THAT(outcome.out, AllOf(HasSubstr("is left out"), HasSubstr(OddDocument() + "\n")));
    const std::vector<StepRecord> steps = Steps();
    EXPECT_EQ(std::count_if(steps.begin(), steps.end(),
                            [](const StepRecord& r) { return std::isnan(r.loss); }),
              1);
    for (const StepRecord& step : steps) {
      EXPECT_EQ(std::isnan(step.grad_norm), std::isnan(step.loss)) << step.step;
    }
    EXPECT_LT(steps.back().loss, steps.front().loss);
    if (adapter.empty()) adapter = TrainedIn(folder_);
    EXPECT_TRUE(TrainedIn(folder_) == adapter);
  }
  EXPECT_EQ(Run(model, 2, {"--on_nonfinite=skip", "--gradient_sum=fp32"}).exit_code, 0);
  EXPECT_TRUE(std::isfinite(Steps().back().loss));
}

TEST_F(GuardsTest, AModelWithoutFiniteStepsIsNotSkippedForEver) {
  const Outcome outcome =
      Run(Model(kEmbedding, 3, NAN), 1, {"--on_nonfinite=skip", "--max_steps=100"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("20 steps in a row"));
  // Whom it names comes in the order of the file.
  std::vector<int> lines;
  const std::string place = documents_ + ":";
  const size_t begin = outcome.out.find("is left out"), end = outcome.out.find('\n', begin);
  for (size_t at = begin; (at = outcome.out.find(place, at)) < end; ++at) {
    lines.push_back(std::stoi(outcome.out.substr(at + place.size())));
  }
  EXPECT_EQ(lines.size(), 4u);
  EXPECT_TRUE(std::is_sorted(lines.begin(), lines.end())) << outcome.out;
}

TEST_F(GuardsTest, StepsThatAreSkippedNowAndThenAreNotCountedTogether) {
  const std::string model = Model(kEmbedding, kOddToken, NAN);
  const Outcome outcome =
      Run(model, 1, {"--on_nonfinite=skip", "--global_batch_size=15", "--max_steps=66"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::vector<StepRecord> steps = Steps();
  EXPECT_EQ(std::count_if(steps.begin(), steps.end(),
                          [](const StepRecord& r) { return std::isnan(r.loss); }),
            22);
  // The third step of an epoch has the ten documents that are left.
  EXPECT_EQ(steps[1].epoch, 0.75);
  EXPECT_EQ(steps[2].epoch, 1);
  EXPECT_EQ(steps[3].epoch, 1.375);
}

TEST_F(GuardsTest, AnEvaluationThatIsNotFiniteIsSaidAndIsNeverTheBest) {
  const Flags flags = {
      "--validation_file=" + documents_, "--on_nonfinite=skip", "--max_steps=6", "--eval_steps=2",
      "--early_stopping_patience=2",     "--save_steps=1"};
  const Outcome outcome = Run(Model(kEmbedding, kOddToken, NAN), 2, flags);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(ReadFile(folder_ + "/metrics.jsonl").value_or(""), HasSubstr("\"eval_loss\":null"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("the best evaluation was")));
  const std::vector<std::string> checkpoints = *ListCheckpoints(folder_ + "/checkpoints");
  EXPECT_FALSE(checkpoints.empty());
  for (const std::string& checkpoint : checkpoints) {
    EXPECT_TRUE(ReadCheckpoint(checkpoint).ok()) << ReadCheckpoint(checkpoint).status();
  }
}

TEST_F(GuardsTest, ASpikeIsNamed) {
  const std::string model = Model("", 0, 0);
  const Flags often = {"--global_batch_size=1", "--max_steps=80"};  // the odd one comes twice
  const Outcome warned = Run(model, 2, often);
  EXPECT_EQ(warned.exit_code, 0) << warned.err;
  EXPECT_THAT(warned.out, AllOf(HasSubstr("the loss jumps to"),
                                HasSubstr(absl::StrCat(documents_, ":", kOddLine, " (loss "))));
  Flags stop = often;
  stop.push_back("--on_spike=stop");
  const Outcome stopped = Run(model, 2, stop);
  EXPECT_EQ(stopped.exit_code, 1);
  EXPECT_THAT(stopped.err, AllOf(HasSubstr("the loss jumps to"), HasSubstr("HINT")));
  // Among more documents than are named it is the first.
  const Outcome among =
      Run(model, 1, {"--modules_to_save=lm_head", "--global_batch_size=5", "--max_steps=40"});
  EXPECT_THAT(among.out, HasSubstr(absl::StrCat("highest now: ", documents_, ":", kOddLine, " (")));
}

TEST_F(GuardsTest, NothingToLearnIsSaid) {
  const std::string model = Model("model.norm.weight", -1, 0);  // logits do not depend on anything
  const Outcome warned = Run(model, 2, {});
  EXPECT_EQ(warned.exit_code, 0) << warned.err;
  EXPECT_THAT(warned.out, HasSubstr("step 1: nothing to learn"));
  EXPECT_THAT(warned.out, Not(HasSubstr("step 2: nothing to learn"))) << "said once";
  const Outcome stopped = Run(model, 2, {"--on_zero_loss=stop"});
  EXPECT_EQ(stopped.exit_code, 1);
  EXPECT_THAT(stopped.err, HasSubstr("gradient norm 0"));
}

TEST_F(GuardsTest, NormsBeforeAndAfterClippingAndTheRateAreThoseOfAnyNumberOfRanks) {
  const std::string model = Model("", 0, 0);
  std::vector<StepRecord> one;
  for (const int ranks : {1, 3}) {
    ASSERT_EQ(Run(model, ranks, {"--max_grad_norm=0.5", "--warmup_steps=3"}).exit_code, 0);
    const std::vector<StepRecord> steps = Steps();
    ASSERT_EQ(steps.size(), 10u);
    nn::LrSchedule schedule;
    schedule.peak = 1e-2;
    schedule.warmup_steps = 3;
    schedule.total_steps = 10;
    if (one.empty()) one = steps;
    int clipped = 0;
    for (size_t i = 0; i < steps.size(); ++i) {
      const StepRecord& step = steps[i];
      EXPECT_EQ(step.learning_rate, schedule.At(step.step));
      EXPECT_EQ(step.grad_norm, one[i].grad_norm);
      const double factor = std::min(1.0, 0.5 / (step.grad_norm + 1e-6));
      EXPECT_DOUBLE_EQ(step.grad_norm_clipped, step.grad_norm * factor);
      clipped += factor < 1;
    }
    EXPECT_GT(clipped, 0);
  }
}

}  // namespace
}  // namespace lockstep
