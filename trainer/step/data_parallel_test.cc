// Ranks that share the update: when the weights of the others are there. What several processes
// compute is in //tests:shared_update_test and lockstep_test.
#include "trainer/step/data_parallel.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "nn/host_tensor.h"
#include "nn/testing.h"
#include "trainer/step/step_gradient.h"

namespace lockstep {
namespace {

// One of two ranks, of which the other has no packs, so its gradients are zeros; its weights are
// those of a model that is trained alone. A collective happens when it is waited for, no earlier:
// until then what comes is not a number.
class LateCommunicator final : public dist::Communicator {
 public:
  explicit LateCommunicator(int rank) : Communicator(rank, 2) {}

  void Wait(Work work, Stream stream) override {
    if (work.sequence <= completed_) return;
    for (; completed_ < work.sequence; ++completed_) {
      const Arriving& next = calls_.front();
      std::copy(next.from.begin(), next.from.end(), next.to);
      calls_.pop_front();
    }
    left_at_waits.push_back(calls_.size());
  }
  double waited_ms() override { return 0; }
  void Abort() override {}
  Position position() const override { return {submitted_, completed_, ""}; }

  const nn::FlatParameters* alone = nullptr;
  const nn::FlatParameters* shared = nullptr;  // this rank's
  std::vector<std::string> names;              // of all calls
  std::vector<size_t> left_at_waits;           // calls that were then still to come

 private:
  // What the other rank sends when the call is made.
  struct Arriving {
    std::vector<float> from = {};
    float* to = nullptr;
  };

  Work Submit(Call call, Stream stream) override {
    names.push_back(call.name);
    Arriving& arriving = calls_.emplace_back();
    if (call.kind == Call::Kind::kAllGather) {
      const int64_t numel = call.input.numel();
      arriving.to = call.output.as<float>() + (1 - rank()) * numel;
      const int64_t begin = arriving.to - shared->image().view().as<float>();
      const float* const sent = alone->image().view().as<float>() + begin;
      arriving.from.assign(sent, sent + numel);
      std::fill_n(arriving.to, numel, std::numeric_limits<float>::quiet_NaN());
    }
    return {++submitted_};
  }

  std::deque<Arriving> calls_;
  int64_t submitted_ = 0, completed_ = 0;
};

data::RankStep OnePack(int step) {
  std::mt19937 bits(static_cast<unsigned>(step));
  data::RankStep work;
  data::Pack& pack = work.packs.emplace_back();
  for (int32_t i = 0; i < 40; ++i) {
    pack.input_ids.push_back(static_cast<int32_t>(bits() % 97));
    pack.positions.push_back(i);
    pack.token_keys.push_back(i);
    pack.target_rows.push_back(i);
    pack.targets.push_back(static_cast<int32_t>(bits() % 97));
  }
  pack.cu_seqlens = {0, 40};
  pack.documents = {0};
  work.num_packs = 1;
  work.num_supervised = 40;
  return work;
}

// A model all of whose weights are trained by one rank.
class Trained {
 public:
  Trained(const std::string& folder, dist::Communicator* communicator)
      : model(nn::LoadOrFail({.directory = folder,
                              .full = true,
                              .random_init = true,
                              .num_slots = dist::kNumStepSlots})),
        parallel(std::make_unique<DataParallel>(
            context, &model->parameters(), communicator,
            ReductionOptions{.bucket_cap_mb = 0.01, .shares_update = true})),
        optimizer(context, model->parameters(), {.max_grad_norm = 0}, dist::kOverflowSlot) {}

  // The step's loss.
  double Step(int step) {
    StepGradient(context, model->decoder(), OnePack(step), {}, /*stop_requested=*/false,
                 parallel.get(), [](const char*, int64_t) {});
    parallel->Update(&optimizer, step, /*learning_rate=*/1e-2);
    return parallel->ReadSums().loss_sum;
  }
  std::vector<double> Values() const { return kernels::ToVector(model->parameters().values()); }

  const Context context = kernels::CpuContext();
  const std::unique_ptr<nn::Model> model;
  std::unique_ptr<DataParallel> parallel;
  nn::AdamW optimizer;
};

// The bytes of its weights as a file.
std::string Saved(const nn::Model& model) {
  const std::string folder = ::testing::TempDir() + "/saved";
  EXPECT_TRUE(model.Save(folder, "").ok());
  return ReadFile(folder + "/model.safetensors").value_or("");
}

// Rank, and whether the head is the embedding.
class ArrivingWeights : public ::testing::TestWithParam<std::tuple<int, bool>> {
 protected:
  ArrivingWeights() : late_(std::get<0>(GetParam())) {
    nlohmann::json config = nn::TinyConfig("llama");
    config["vocab_size"] = 2048;
    config["intermediate_size"] = 512;
    config["num_hidden_layers"] = 3;
    config["tie_word_embeddings"] = std::get<1>(GetParam());
    const std::string folder = nn::MakeModel("arriving", config);
    alone_ = std::make_unique<Trained>(folder, solo_.get());
    shared_ = std::make_unique<Trained>(folder, &late_);
    late_.alone = &alone_->model->parameters();
    late_.shared = &shared_->model->parameters();
  }

  const std::unique_ptr<dist::Communicator> solo_ = dist::MakeSoloCommunicator();
  LateCommunicator late_;
  std::unique_ptr<Trained> alone_, shared_;
};

TEST_P(ArrivingWeights, NoPassReadsOneThatIsNotThere) {
  for (int step = 1; step <= 3; ++step) {
    const double alone = alone_->Step(step);
    EXPECT_EQ(shared_->Step(step), alone) << step;
  }
  EXPECT_EQ(nn::LogitsOf(*shared_->model), nn::LogitsOf(*alone_->model));
}

TEST_P(ArrivingWeights, AForwardPassWaitsForNoMoreThanItReadsNext) {
  alone_->Step(1);
  late_.names.clear();
  shared_->Step(1);
  const auto buckets = static_cast<size_t>(shared_->parallel->plan().shared / 32768);
  ASSERT_GE(buckets, 6u);
  ASSERT_GE(late_.names.size(), buckets);
  for (size_t i = 0; i < buckets; ++i) {  // the last calls, and the last bucket first
    EXPECT_EQ(late_.names[late_.names.size() - buckets + i],
              absl::StrCat("all_gather weights of bucket ", buckets - 1 - i));
  }
  late_.left_at_waits.clear();
  nn::LogitsOf(*shared_->model);
  // The embedding, three layers, the head; neighbors may lie in one bucket.
  ASSERT_GE(late_.left_at_waits.size(), 4u);
  EXPECT_GE(late_.left_at_waits.front() + 3, buckets) << "the embedding is in at most three";
  EXPECT_GT(late_.left_at_waits.end()[-2], 0u);
  EXPECT_EQ(late_.left_at_waits.back(), 0u);
  nn::LogitsOf(*shared_->model);
  EXPECT_LE(late_.left_at_waits.size(), 5u) << "once";
}

TEST_P(ArrivingWeights, AllAreThereForWhoeverAsks) {
  alone_->Step(1);
  shared_->Step(1);
  EXPECT_NE(shared_->Values(), alone_->Values());
  shared_->model->parameters().Await();
  EXPECT_EQ(shared_->Values(), alone_->Values());

  alone_->Step(2);
  shared_->Step(2);
  shared_->parallel->AwaitState();
  EXPECT_EQ(shared_->Values(), alone_->Values());

  alone_->Step(3);
  shared_->Step(3);
  EXPECT_EQ(Saved(*shared_->model), Saved(*alone_->model));

  alone_->Step(4);
  shared_->Step(4);
  shared_->parallel.reset();
  EXPECT_EQ(shared_->Values(), alone_->Values());
  shared_->model->parameters().Await();  // asks nobody
}

// Without a pack a rank reads none of the last step's weights. Two such steps: what is left over of
// one alone may be taken in the right order by chance.
TEST_P(ArrivingWeights, StepsWithoutAForwardPass) {
  for (Trained* trained : {alone_.get(), shared_.get()}) trained->Step(1);
  shared_->model->parameters().Await(shared_->model->parameters().num_parameters() - 1);
  for (int step = 2; step <= 3; ++step) {
    for (Trained* trained : {alone_.get(), shared_.get()}) {
      trained->parallel->BeginStep(1);
      trained->parallel->FinishStep(/*stop_requested=*/false);
      trained->parallel->Update(&trained->optimizer, step, /*learning_rate=*/1e-2);
    }
  }
  EXPECT_EQ(nn::LogitsOf(*shared_->model), nn::LogitsOf(*alone_->model));
}

INSTANTIATE_TEST_SUITE_P(All, ArrivingWeights,
                         ::testing::Combine(::testing::Values(0, 1), ::testing::Bool()));

}  // namespace
}  // namespace lockstep
