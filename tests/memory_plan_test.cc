// What a run will take, before it takes it, and what --gradient_checkpointing=auto makes of it.
#include "trainer/plan/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "tests/tiny_model.h"
#include "tests/tiny_training_data.h"
#include "tests/trainer_process.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

class MemoryPlanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.data.model = options_.model.directory = FreshPath("model");
    WriteTinyModel(options_.model.directory);
    options_.model.lora = nn::LoraConfig{};
    data_ = TinyTrainingData(options_.data.model, /*count=*/120, /*longest=*/60);
    planner_ = *MemoryPlanner::Create(options_, *data_, data_->plan->steps_per_epoch());
  }

  MemoryPlan Chosen(int64_t available, int ranks = 1) {
    options_.auto_checkpointing = true;
    const auto plan = planner_->Choose(options_, ranks, {.host = available});
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.ok() ? *plan : MemoryPlan();
  }

  TrainOptions options_;
  std::unique_ptr<TrainingData> data_;
  std::unique_ptr<MemoryPlanner> planner_;
};

TEST_F(MemoryPlanTest, RecomputingMoreTakesLess) {
  const MemoryPlan none = planner_->Plan({.checkpointing = nn::Checkpointing::kNone});
  const MemoryPlan cheap = planner_->Plan({.checkpointing = nn::Checkpointing::kCheap});
  const MemoryPlan layer = planner_->Plan({.checkpointing = nn::Checkpointing::kLayer});
  EXPECT_GT(none.activations, cheap.activations);
  EXPECT_GT(cheap.activations, layer.activations);
  EXPECT_EQ(none.model, layer.model);
  for (const MemoryPlan& plan : {none, cheap, layer}) EXPECT_GE(plan.arena, plan.allocated());
  EXPECT_EQ(planner_->Plan({.checkpointing = nn::Checkpointing::kNone}).needed(), none.needed())
      << "asked again";
}

TEST_F(MemoryPlanTest, AutoTakesTheFastestModeThatFits) {
  using nn::Checkpointing;
  const int64_t none = planner_->Plan({.checkpointing = Checkpointing::kNone}).needed();
  const int64_t cheap = planner_->Plan({.checkpointing = Checkpointing::kCheap}).needed();
  const int64_t layer = planner_->Plan({.checkpointing = Checkpointing::kLayer}).needed();
  const int64_t copy =
      planner_->Plan({.checkpointing = Checkpointing::kNone}).host_copy;  // one, for all ranks
  EXPECT_EQ(Chosen(none + copy).forward.checkpointing, Checkpointing::kNone);
  EXPECT_EQ(Chosen(none + copy - 1).forward.checkpointing, Checkpointing::kCheap);
  EXPECT_EQ(Chosen(cheap + copy - 1).forward.checkpointing, Checkpointing::kLayer);
  EXPECT_EQ(Chosen(3 * none + copy, /*ranks=*/3).forward.checkpointing, Checkpointing::kNone);
  EXPECT_EQ(Chosen(3 * none + copy - 1, /*ranks=*/3).forward.checkpointing, Checkpointing::kCheap);
  const auto refused = planner_->Choose(options_, 1, {.host = layer + copy - 1});
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(
      std::string(refused.status().message()),
      testing::AllOf(HasSubstr("want"), HasSubstr("got"), HasSubstr("=layer"), HasSubstr("HINT")));
}

TEST_F(MemoryPlanTest, WhereTheGpuHasRoomItHasTheCopyThatIsSaved) {
  options_.device = "cuda";
  options_.auto_checkpointing = true;
  planner_ = *MemoryPlanner::Create(options_, *data_, data_->plan->steps_per_epoch());
  const MemoryPlan plan = planner_->Plan({.checkpointing = nn::Checkpointing::kNone});
  const int64_t copy = plan.host_copy;
  const auto chosen = [&](const FreeMemory& available) {
    const auto plan = planner_->Choose(options_, 1, available);
    EXPECT_TRUE(plan.ok()) << plan.status();
    return *plan;
  };
  const MemoryPlan there = chosen({.host = 0, .device = plan.needed() + copy});
  EXPECT_EQ(there.device_copy, copy);
  EXPECT_EQ(there.host_copy, 0);
  EXPECT_EQ(there.needed(), plan.needed() + copy);
  EXPECT_EQ(there.reserved(), plan.arena + copy);
  // Activations go first: they are of use in every step.
  const MemoryPlan here = chosen({.host = copy, .device = plan.needed() + copy - 1});
  EXPECT_EQ(here.forward.checkpointing, nn::Checkpointing::kNone);
  EXPECT_EQ(here.device_copy, 0);
  EXPECT_EQ(here.host_copy, copy);
}

TEST_F(MemoryPlanTest, BesideAGpuActivationsWaitInHostMemory) {
  using nn::Checkpointing;
  const MemoryPlan on_cpu = planner_->Plan({.checkpointing = Checkpointing::kLayer});
  EXPECT_EQ(on_cpu.host, 0);
  options_.device = "cuda";  // planned without one
  planner_ = *MemoryPlanner::Create(options_, *data_, data_->plan->steps_per_epoch());
  EXPECT_EQ(planner_->Plan({.checkpointing = Checkpointing::kNone}).host, 0);
  const MemoryPlan plan = planner_->Plan({.checkpointing = Checkpointing::kLayer});
  EXPECT_GT(plan.host, 0);
  EXPECT_EQ(plan.host_copy, 3 * 4 * plan.num_elements) << "values and two moments, for checkpoints";
  options_.gradient_checkpointing = Checkpointing::kLayer;
  options_.auto_checkpointing = false;
  // Each rank has a GPU; they share the machine's memory, and one of them saves.
  const int64_t host = 2 * plan.host + plan.host_copy;
  EXPECT_TRUE(planner_->Choose(options_, 2, {.host = host, .device = plan.needed()}).ok());
  const auto no_host = planner_->Choose(options_, 2, {.host = host - 1, .device = plan.needed()});
  ASSERT_FALSE(no_host.ok());
  EXPECT_THAT(std::string(no_host.status().message()),
              testing::AllOf(HasSubstr("host memory"), HasSubstr("2 ranks"), HasSubstr("HINT")));
  const auto no_gpu = planner_->Choose(options_, 2, {.host = host, .device = plan.needed() - 1});
  ASSERT_FALSE(no_gpu.ok());
  EXPECT_THAT(std::string(no_gpu.status().message()),
              testing::AllOf(HasSubstr("on each GPU"), HasSubstr("HINT")));
}

// Short packs beside wide matrices: most is in use while the last one becomes FP8.
TEST_F(MemoryPlanTest, MatricesOnTheirWayIntoFp8AreInThePlan) {
  constexpr int64_t kDown = int64_t{1024} * 4096 * 4;  // bytes of an fp32 matrix
  options_.model.random_init = true;
  const std::string config = JoinPath(options_.data.model, "config.json");
  ASSERT_TRUE(
      WriteFileAtomically(
          config, absl::StrReplaceAll(*ReadFile(config),
                                      {{"hidden_size\":32", "hidden_size\":1024"},
                                       {"intermediate_size\":48", "intermediate_size\":4096"}}))
          .ok());
  data_ = TinyTrainingData(options_.data.model, /*count=*/4, /*longest=*/12);
  for (const bool fp8 : {false, true}) {
    options_.model.fp8_linear = fp8;
    planner_ = *MemoryPlanner::Create(options_, *data_, data_->plan->steps_per_epoch());
    const MemoryPlan plan = planner_->Plan({.checkpointing = nn::Checkpointing::kLayer});
    EXPECT_EQ(plan.activations > kDown - kDown / 16, fp8) << plan.activations;  // but for the head
    EXPECT_GE(plan.arena, plan.allocated());
  }
}

// Scores' gradients of a query head: for 28,672 rows.
TEST_F(MemoryPlanTest, MemoryThatIsLeftTakesMoreHeadsOfLongDocuments) {
  using nn::Checkpointing;
  constexpr int64_t kGib = int64_t{1} << 30, kMib = int64_t{1} << 20, kHead = 28'672 * 28'672 * 2;
  options_.device = "cuda";
  options_.auto_checkpointing = false;
  options_.model.compute_dtype = options_.model.base_dtype = DType::kBF16;
  const std::string config = JoinPath(options_.data.model, "config.json");
  ASSERT_TRUE(WriteFileAtomically(
                  config, absl::StrReplaceAll(*ReadFile(config), {{"s\":512", "s\":32768"}}))
                  .ok());
  data_ = TinyTrainingData(options_.data.model, /*count=*/20, /*longest=*/90'000,
                           /*max_seq_length=*/28'000);
  planner_ = *MemoryPlanner::Create(options_, *data_, data_->plan->steps_per_epoch());
  for (const Checkpointing mode : {Checkpointing::kNone, Checkpointing::kLayer}) {
    SCOPED_TRACE(NameOf(mode));
    const auto plan = [&](int64_t score_bytes) {
      return planner_->Plan({.checkpointing = mode,
                             .score_bytes = score_bytes,
                             .keep_attention = mode == Checkpointing::kLayer});
    };
    const MemoryPlan one = plan(0), two = plan(4 * kGib), all = plan(8 * kGib);
    if (all.activations == one.activations) GTEST_SKIP() << "built without CUDA";
    EXPECT_GT(two.activations, one.activations);
    EXPECT_NEAR(all.activations - two.activations, 2 * kHead, 64 * kMib);
    options_.gradient_checkpointing = mode;
    const auto chosen = [&](int64_t device) {
      const auto plan = planner_->Choose(options_, 1, {.host = 64 * kGib, .device = device});
      return plan.ok() ? plan->forward.score_bytes : -1;
    };
    EXPECT_EQ(chosen(all.needed()), 8 * kGib);
    EXPECT_EQ(chosen(all.needed() - 1), 4 * kGib);
    EXPECT_EQ(chosen(two.needed() - 1), 0);
    const int64_t least = planner_->Plan({.checkpointing = mode}).needed();  // nothing kept
    EXPECT_EQ(chosen(std::min(one.needed(), least) - 1), -1);
  }
}

// What the sums are rounded to before they travel has memory of its own all the time.
TEST_F(MemoryPlanTest, WhatTravelsIsThereBesideTheActivations) {
  const auto allocated = [&](GradientSum sum) {
    options_.reduction.sum = sum;
    options_.model.sum_dtype = SumDtype(sum);
    planner_ = *MemoryPlanner::Create(options_, *data_, data_->plan->steps_per_epoch());
    const MemoryPlan plan = planner_->Plan({.checkpointing = nn::Checkpointing::kNone});
    EXPECT_GE(plan.arena, plan.allocated());
    return plan.allocated() - (sum == GradientSum::kBf16 ? 2 * plan.num_elements : 0);
  };
  EXPECT_EQ(allocated(GradientSum::kBf16), allocated(GradientSum::kFp32));
}

TEST_F(MemoryPlanTest, KnowsHowManyTokensFit) {
  using nn::Checkpointing;
  const int64_t available = planner_->Plan({.checkpointing = Checkpointing::kNone}).needed() * 4;
  const int64_t most = planner_->LargestTokensPerPack(Checkpointing::kNone, 1, {.host = available});
  EXPECT_GT(most, data_->plan->Summarize().max_pack_tokens);
  EXPECT_EQ(most % 64, 0);
  EXPECT_GT(planner_->LargestTokensPerPack(Checkpointing::kLayer, 1, {.host = available}), most);
  EXPECT_LT(planner_->LargestTokensPerPack(Checkpointing::kNone, 2, {.host = available}), most);
  EXPECT_EQ(planner_->LargestTokensPerPack(Checkpointing::kNone, 1, {.host = 1000}), 0);
}

}  // namespace
}  // namespace lockstep
