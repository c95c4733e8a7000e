// What the promise of equal bits rests on: two ranks give the sums that one rank gives, to the last
// bit; and the errors that data parallelism invites are seen, each planted here on purpose.
#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/hash.h"
#include "dist/immediate_communicator.h"
#include "nn/host_tensor.h"
#include "nn/model.h"
#include "tensor/allocator.h"
#include "tests/tiny_model.h"
#include "tests/trainer_process.h"
#include "trainer/step/data_parallel.h"
#include "trainer/step/step_gradient.h"

namespace lockstep {
namespace {

// Where the two ranks of a test meet, each in a thread of its own.
class Meeting {
 public:
  // Adds what the two bring, for both.
  void Sum(std::vector<int64_t>* values) {
    std::unique_lock<std::mutex> lock(mutex_);
    const int64_t round = round_;
    if (first_ == nullptr) {
      first_ = values;
      met_.wait(lock, [&] { return round_ != round; });
      return;
    }
    for (size_t i = 0; i < values->size(); ++i) (*values)[i] += (*first_)[i];
    *first_ = *values;
    first_ = nullptr;
    ++round_;
    met_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable met_;
  std::vector<int64_t>* first_ = nullptr;
  int64_t round_ = 0;
};

// Sums at once. The bucket of this name is sent twice.
class MeetingCommunicator final : public dist::ImmediateCommunicator {
 public:
  MeetingCommunicator(int rank, Meeting* meeting, std::string sent_twice)
      : ImmediateCommunicator(rank, 2), meeting_(meeting), sent_twice_(std::move(sent_twice)) {}

 private:
  void Do(const Call& call) override {
    int64_t* data = call.output.as<int64_t>();
    std::vector<int64_t> values(data, data + call.output.numel());
    meeting_->Sum(&values);
    if (call.name == sent_twice_) meeting_->Sum(&values);
    std::copy(values.begin(), values.end(), data);
  }

  Meeting* const meeting_;
  const std::string sent_twice_;
};

data::Pack MakePack(const std::vector<int>& lengths, uint64_t seed) {
  data::Pack pack;
  pack.cu_seqlens = {0};
  for (const int length : lengths) {
    for (int i = 0; i < length; ++i) {
      seed = MixKeys(seed, i);
      if (i > 0) {
        pack.target_rows.push_back(static_cast<int32_t>(pack.input_ids.size()) - 1);
        pack.targets.push_back(static_cast<int32_t>(seed % 97));
      }
      pack.token_keys.push_back(static_cast<int64_t>(seed >> 2));
      pack.input_ids.push_back(static_cast<int32_t>(seed % 97));
      pack.positions.push_back(i);
    }
    pack.cu_seqlens.push_back(static_cast<int32_t>(pack.input_ids.size()));
    pack.documents.push_back(0);
  }
  return pack;
}

class PlantedErrorsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = FreshPath("model");
    WriteTinyModel(folder_);
    packs_ = {MakePack({5, 61}, 1), MakePack({17}, 2), MakePack({2, 2, 130}, 3), MakePack({9}, 4)};
  }

  // The step as rank `rank` of `size` has it: every other pack.
  data::RankStep Work(int rank, int size) const {
    data::RankStep work;
    work.num_packs = static_cast<int64_t>(packs_.size());
    for (size_t i = 0; i < packs_.size(); ++i) {
      work.num_supervised += packs_[i].num_supervised();
      work.num_tokens += packs_[i].num_tokens();
      if (static_cast<int>(i) % size == rank) work.packs.push_back(packs_[i]);
    }
    return work;
  }

  // All sums of one step on this rank, slots included.
  std::vector<int64_t> Sums(const data::RankStep& work, dist::Communicator* communicator) const {
    CpuAllocator allocator;
    const Context context{Stream{allocator.device()}, &allocator};
    nn::ModelOptions options;
    options.directory = folder_;
    options.lora = nn::LoraConfig();
    options.lora->r = 4;
    options.lora->init = nn::LoraInit::kFalse;  // B is not zero, so that A has a gradient
    options.lora->dropout = 0.1;
    options.num_slots = dist::kNumStepSlots;
    const auto model = nn::Model::Load(context, options);
    EXPECT_TRUE(model.ok()) << model.status();
    DataParallel parallel(context, &(*model)->parameters(), communicator, {.bucket_cap_mb = 0.01});
    EXPECT_GT(parallel.plan().buckets.size(), 2u);
    nn::ForwardOptions forward;
    forward.lora_dropout = (*model)->lora()->dropout;
    StepGradient(context, (*model)->decoder(), work, forward, /*stop_requested=*/false, &parallel,
                 [](const char*, int64_t) {});
    return nn::ToHost<int64_t>(context, (*model)->parameters().sums());
  }

  std::vector<int64_t> OneRank() const {
    const auto solo = dist::MakeSoloCommunicator();
    return Sums(Work(0, 1), solo.get());
  }

  // `plant` changes a rank's work.
  std::vector<int64_t> TwoRanks(const std::function<void(int rank, data::RankStep*)>& plant,
                                const std::string& sent_twice = "") const {
    Meeting meeting;
    std::vector<int64_t> sums[2];
    std::vector<std::thread> ranks;
    for (int rank = 0; rank < 2; ++rank) {
      ranks.emplace_back([&, rank] {
        MeetingCommunicator communicator(rank, &meeting, sent_twice);
        data::RankStep work = Work(rank, 2);
        plant(rank, &work);
        sums[rank] = Sums(work, &communicator);
      });
    }
    for (std::thread& rank : ranks) rank.join();
    EXPECT_EQ(sums[0], sums[1]) << "ranks disagree";
    return sums[0];
  }

  std::string folder_;
  std::vector<data::Pack> packs_;
};

TEST_F(PlantedErrorsTest, WithoutAnErrorAllBitsAreEqual) {
  EXPECT_EQ(TwoRanks([](int, data::RankStep*) {}), OneRank());
}

TEST_F(PlantedErrorsTest, ADroppedPackIsSeen) {
  EXPECT_NE(TwoRanks([](int rank, data::RankStep* work) {
              if (rank == 1) work->packs.pop_back();
            }),
            OneRank());
}

// Each rank divides by its own number of tokens, and the ranks' means are averaged.
TEST_F(PlantedErrorsTest, AMeanOfMeansIsSeen) {
  EXPECT_NE(TwoRanks([](int, data::RankStep* work) {
              int64_t own = 0;
              for (const data::Pack& pack : work->packs) own += pack.num_supervised();
              work->num_supervised = 2 * own;
            }),
            OneRank());
}

TEST_F(PlantedErrorsTest, ABucketSentTwiceIsSeen) {
  EXPECT_NE(TwoRanks([](int, data::RankStep*) {}, "all_reduce bucket 1"), OneRank());
}

// Dropout that knew ranks or packs would be one.
TEST_F(PlantedErrorsTest, OtherRandomNumbersAreSeen) {
  EXPECT_NE(TwoRanks([](int rank, data::RankStep* work) {
              if (rank == 1) ++work->packs[0].token_keys[3];
            }),
            OneRank());
}

}  // namespace
}  // namespace lockstep
