#include "trainer/checkpoint/checkpoint_saver.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/check.h"
#include "base/file.h"
#include "base/status.h"
#include "tensor/allocator.h"

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

// A world of one whose other ranks are in the test's imagination.
class FakeWorld final : public dist::World {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  const dist::LaunchEnv& env() const override { return env_; }
  dist::Communicator& communicator() override { return *communicator_; }
  dist::Heartbeat& heartbeat() override { return heartbeat_; }
  dist::StoreClient& store() override {
    CHECK(false) << "there is none";
    std::abort();
  }
  const std::vector<dist::Member>& members() const override { return members_; }
  absl::Status Agree(const std::map<std::string, std::string>& facts) override {
    compared = facts;
    return agreed;
  }
  int stop_requested() const override { return 0; }
  void SetLogDirectory(const std::string& directory) override {}
  void Leave() override {}

  absl::Status agreed;
  std::map<std::string, std::string> compared;

  // What was reported last; nothing more is, afterwards.
  dist::Progress LastProgress() {
    heartbeat_.Stop();
    return last_;
  }

 private:
  dist::LaunchEnv env_;
  std::vector<dist::Member> members_;
  std::unique_ptr<dist::Communicator> communicator_ = dist::MakeSoloCommunicator();
  dist::Progress last_;
  dist::Heartbeat heartbeat_{[this](const dist::Beat& beat) { last_ = beat.progress; }, 0.1};
};

class CheckpointSaverTest : public ::testing::Test {
 protected:
  // Bringing `metrics` to disk blocks the writing thread until Release(): a pipe without a writer.
  void SetUp() override {
    ASSERT_TRUE(MakeDirectories(folder_).ok());
    ASSERT_EQ(mkfifo(gate_.c_str(), 0600), 0);
    Fill(1);
  }
  void Release() const {
    const int gate = open(gate_.c_str(), O_WRONLY);
    ASSERT_GE(gate, 0);
    close(gate);
  }

  void Fill(float value) {
    for (const Tensor& buffer :
         {parameters_.values(), parameters_.exp_avg(), parameters_.exp_avg_sq()}) {
      float* values = buffer.Mutable("test").as<float>();
      for (int64_t i = 0; i < buffer.numel(); ++i) values[i] = value;
    }
  }
  absl::Status Save(int64_t step) {
    CheckpointState state;
    state.step = step;
    RETURN_IF_ERROR(saver_.Save(state, -1));
    saver_.CopyState();  // as the next step does
    return absl::OkStatus();
  }

  const std::string folder_ =
      ::testing::TempDir() + "/" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
  const std::string gate_ = folder_ + ".gate";
  CpuAllocator allocator_;
  const Context context_{Stream{allocator_.device()}, &allocator_};
  nn::FlatParameters parameters_{context_, {{"a", {3, 5}}, {"b", {7}}}, {}};
  FakeWorld world_;
  CheckpointSaver saver_{world_, context_, parameters_, {folder_, 1, gate_, Tensor(), false}};
};

TEST_F(CheckpointSaverTest, WhoWaitsSaysForWhichStep) {
  ASSERT_TRUE(Save(3).ok());
  Release();
  ASSERT_TRUE(saver_.Finish().ok());
  const dist::Progress progress = world_.LastProgress();
  EXPECT_EQ(progress.phase, "save");
  EXPECT_EQ(progress.step, 3);
}

TEST_F(CheckpointSaverTest, TrainingGoesOnWhileTheStateOfThenIsWritten) {
  ASSERT_TRUE(Save(3).ok());
  EXPECT_TRUE(ListCheckpoints(folder_)->empty()) << "nobody waits";
  Fill(2);  // the next step
  EXPECT_TRUE(saver_.Poll().ok());
  Release();
  ASSERT_TRUE(saver_.Finish().ok());
  ASSERT_THAT(*ListCheckpoints(folder_), ElementsAre(EndsWith("step-00000003")));
  ASSERT_TRUE(RestoreParameters(context_, ListCheckpoints(folder_)->at(0), &parameters_).ok());
  for (const Tensor& buffer :
       {parameters_.values(), parameters_.exp_avg(), parameters_.exp_avg_sq()}) {
    EXPECT_EQ(parameters_.Part(buffer, 0).view().as<float>()[14], 1);
    EXPECT_EQ(parameters_.Part(buffer, 1).view().as<float>()[6], 1);
  }
}

TEST_F(CheckpointSaverTest, WhatComesFromOtherRanksIsAwaitedBeforeItIsCompared) {
  const auto compared = [this] {
    EXPECT_TRUE(saver_.Save({}, -1).ok());
    saver_.CopyState();
    Release();
    EXPECT_TRUE(saver_.Finish().ok());
    return world_.compared;
  };
  const std::map<std::string, std::string> before = compared();
  Fill(2);
  parameters_.SetAwait([this](int64_t) { Fill(1); });
  EXPECT_EQ(compared(), before);
}

TEST_F(CheckpointSaverTest, WhatProductsReadIsComparedToo) {
  nn::FlatParameters::Options options;
  options.image_dtype = DType::kBF16;
  const nn::FlatParameters parameters(context_, {{"a", {3, 5}}}, options);
  CheckpointSaver saver(world_, context_, parameters, {folder_, 1, "", Tensor(), false});
  ASSERT_TRUE(saver.Save({}, -1).ok());
  saver.CopyState();
  const std::map<std::string, std::string> before = world_.compared;
  parameters.image().Mutable("test").as<uint16_t>()[7] = 1;
  ASSERT_TRUE(saver.Save({}, -1).ok());
  EXPECT_EQ(world_.compared["parameters"], before.at("parameters"));
  EXPECT_NE(world_.compared["what products read"], before.at("what products read"));
  CheckpointSaver sharing(world_, context_, parameters, {folder_, 1, "", Tensor(), true});
  ASSERT_TRUE(sharing.Save({}, -1).ok());
  EXPECT_EQ(world_.compared.count("parameters"), 0u) << "a rank has its own part of them alone";
}

TEST_F(CheckpointSaverTest, TheOldestStaysUntilTheNextIsWhole) {
  ASSERT_TRUE(Save(3).ok());
  Release();
  ASSERT_TRUE(saver_.Finish().ok());
  ASSERT_TRUE(Save(6).ok());
  EXPECT_THAT(*ListCheckpoints(folder_), ElementsAre(EndsWith("step-00000003")));
  Release();
  ASSERT_TRUE(saver_.Finish().ok());
  EXPECT_THAT(*ListCheckpoints(folder_), ElementsAre(EndsWith("step-00000006")));
}

TEST_F(CheckpointSaverTest, WhatGoesWrongInWritingIsSaidAtTheNextStep) {
  ASSERT_TRUE(Save(3).ok());
  std::filesystem::remove_all(folder_);
  Release();
  absl::Status status;
  for (int i = 0; i < 1000 && status.ok(); ++i) {
    status = saver_.Poll();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_THAT(status.message(), HasSubstr("the folder is gone"));
  EXPECT_TRUE(saver_.Finish().ok()) << "it was said";
}

TEST_F(CheckpointSaverTest, WhatRanksDoNotHaveAlikeIsNotSaved) {
  world_.agreed = UserError("agreement", "parameters: rank 0 has 1, rank 1 has 2", "a hint");
  const absl::Status status = Save(3);
  EXPECT_THAT(status.message(), HasSubstr("[step 3] ranks have come apart"));
  EXPECT_THAT(status.message(), HasSubstr("rank 1 has 2"));
  EXPECT_TRUE(saver_.Finish().ok());
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

}  // namespace
}  // namespace lockstep
