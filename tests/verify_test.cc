// --verify says that the bits are equal where they are, and finds the one that is not.
#include "trainer/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "dist/immediate_communicator.h"
#include "tensor/allocator.h"
#include "tests/tiny_model.h"
#include "tests/tiny_training_data.h"
#include "tests/trainer_process.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

// A world of one that adds one quantum to the first sum of every bucket.
class WrongCommunicator final : public dist::ImmediateCommunicator {
 public:
  WrongCommunicator() : ImmediateCommunicator(0, 1) {}

 private:
  void Do(const Call& call) override {
    if (absl::StrContains(call.name, "bucket")) ++*call.output.as<int64_t>();
  }
};

TEST(VerifyTest, ComparesAllBits) {
  nn::ModelOptions options;
  options.directory = FreshPath("model");
  WriteTinyModel(options.directory);
  options.lora = nn::LoraConfig();
  options.num_slots = dist::kNumStepSlots;
  CpuAllocator allocator;
  const Context context{Stream{allocator.device()}, &allocator};
  const auto model = *nn::Model::Load(context, options);
  const std::unique_ptr<TrainingData> data =
      TinyTrainingData(options.directory, /*count=*/20, /*longest=*/40);
  const auto verify = [&](dist::Communicator* communicator) {
    return VerifyLockstep(context, {}, {}, *data, communicator, model.get());
  };

  const auto solo = dist::MakeSoloCommunicator();
  const absl::StatusOr<std::string> proof = verify(solo.get());
  ASSERT_TRUE(proof.ok()) << proof.status();
  EXPECT_THAT(*proof, HasSubstr("bit for bit"));

  WrongCommunicator wrong;
  EXPECT_THAT(std::string(verify(&wrong).status().message()), HasSubstr("got 1 sums that differ"));
}

}  // namespace
}  // namespace lockstep
