#include "dist/gradient_reducer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "absl/strings/str_cat.h"
#include "dist/immediate_communicator.h"

namespace lockstep::dist {
namespace {

using ::testing::ElementsAre;

// Records what is launched; "sums" over three equal ranks.
class RecordingCommunicator final : public ImmediateCommunicator {
 public:
  RecordingCommunicator() : ImmediateCommunicator(0, 3) {}
  void Wait(Work work, Stream stream) override { waited.push_back(work.sequence); }

  std::vector<std::string> names;
  std::vector<int64_t> waited;

 private:
  void Do(const Call& call) override {
    names.push_back(call.name);
    int64_t* data = call.output.as<int64_t>();
    for (int64_t i = 0; i < call.output.numel(); ++i) data[i] *= 3;
  }
};

class GradientReducerTest : public ::testing::Test {
 protected:
  GradientReducerTest() {
    std::vector<ParameterRange> parameters;
    for (int i = 0; i < 6; ++i) parameters.push_back({absl::StrCat("layer.", i), 4 * i, 4});
    plan_ = PlanBuckets(parameters, {64, 8, kNumStepSlots});  // two parameters a bucket
    gradients_.resize(plan_.numel);
    std::iota(gradients_.begin(), gradients_.end(), 1);
  }
  View view() { return MakeView(gradients_.data(), DType::kI64, Device(), {plan_.numel}); }

  BucketPlan plan_;
  std::vector<int64_t> gradients_;
  RecordingCommunicator communicator_;
};

TEST_F(GradientReducerTest, BucketsLeaveInOrderAsTheyBecomeReady) {
  GradientReducer reducer(plan_, communicator_, view(), Stream());
  reducer.MarkReady(2);
  reducer.MarkReady(3);  // bucket 1 is ready but bucket 0 is not
  EXPECT_EQ(reducer.num_launched(), 0);
  reducer.MarkReady(1);
  reducer.MarkReady(0);
  EXPECT_THAT(communicator_.names, ElementsAre("all_reduce bucket 0", "all_reduce bucket 1"));
  reducer.MarkReady(4);
  reducer.MarkReady(5);
  EXPECT_EQ(reducer.num_launched(), 2);  // the last bucket holds the slots
  reducer.MarkReady(plan_.slots_member());
  EXPECT_EQ(reducer.num_launched(), 3);
  reducer.Finish();
  EXPECT_THAT(communicator_.waited, ElementsAre(3)) << "the last one ends behind all others";
}

TEST_F(GradientReducerTest, EveryElementIsSummedOnceInAnyOrderOfMarksInEveryStep) {
  GradientReducer reducer(plan_, communicator_, view(), Stream());
  std::mt19937 random(3);
  std::vector<int> order(plan_.members.size());
  std::iota(order.begin(), order.end(), 0);
  for (int step = 0; step < 20; ++step) {
    std::iota(gradients_.begin(), gradients_.end(), 1);
    std::shuffle(order.begin(), order.end(), random);
    for (const int i : order) reducer.MarkReady(i);
    reducer.Finish();
    for (int64_t i = 0; i < plan_.numel; ++i) ASSERT_EQ(gradients_[i], 3 * (i + 1));
  }
  EXPECT_EQ(communicator_.names.size(), 60u);
}

TEST_F(GradientReducerTest, FloatBuffersToo) {
  BucketPlan plan = PlanBuckets(std::vector<ParameterRange>{{"w", 0, 4}}, {64, 4, 0});
  float data[4] = {1, 2, 3, 4};
  const std::unique_ptr<Communicator> solo = MakeSoloCommunicator();
  GradientReducer reducer(plan, *solo, MakeView(data, DType::kF32, Device(), {4}), Stream());
  reducer.MarkReady(0);
  reducer.Finish();
  EXPECT_EQ(solo->position().completed, 1);
}

using GradientReducerDeathTest = GradientReducerTest;

TEST_F(GradientReducerDeathTest, MarkingTwiceNamesTheParameter) {
  GradientReducer reducer(plan_, communicator_, view(), Stream());
  reducer.MarkReady(4);
  EXPECT_DEATH(reducer.MarkReady(4), "layer.4 was marked ready twice");
}

TEST_F(GradientReducerDeathTest, FinishingEarlyNamesTheParameters) {
  GradientReducer reducer(plan_, communicator_, view(), Stream());
  for (const int i : {0, 1, 2, 4}) reducer.MarkReady(i);
  EXPECT_DEATH(reducer.Finish(), "layer.3\n.*layer.5\n.*the step's slots");
}

TEST_F(GradientReducerDeathTest, OutOfRange) {
  GradientReducer reducer(plan_, communicator_, view(), Stream());
  EXPECT_DEATH(reducer.MarkReady(7), "parameter 7");
}

TEST_F(GradientReducerDeathTest, WrongBuffer) {
  const View small = view().Slice(0, 0, 5);
  EXPECT_DEATH(GradientReducer(plan_, communicator_, small, Stream()), "want the plan's size");
}

}  // namespace
}  // namespace lockstep::dist
