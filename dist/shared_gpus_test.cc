#include "dist/shared_gpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::dist {
namespace {

using ::testing::HasSubstr;

// Ranks of one host, whose GPUs these are.
std::vector<Member> On(const std::vector<std::string>& gpus) {
  std::vector<Member> members;
  for (const std::string& gpu : gpus) {
    const int rank = static_cast<int>(members.size());
    members.push_back({rank, 0, rank, "here", 100 + rank, gpu, "cuda:0 NVIDIA H200"});
  }
  return members;
}

TEST(SharedGpusTest, TheUserAllowsItByNcclsVariable) {
  EXPECT_FALSE(MayShareGpus({}));
  EXPECT_FALSE(MayShareGpus({{"NCCL_MULTI_RANK_GPU_ENABLE", "0"}}));
  EXPECT_FALSE(MayShareGpus({{"NCCL_MULTI_RANK_GPU_ENABLE", ""}}));
  EXPECT_TRUE(MayShareGpus({{"NCCL_MULTI_RANK_GPU_ENABLE", "1"}}));
}

TEST(SharedGpusTest, WithoutThatEveryRankNeedsItsOwn) {
  // As a launcher leaves them that shows each task one GPU: the number is 0 everywhere.
  EXPECT_TRUE(CheckGpus(On({"GPU-a", "GPU-b"}), false).ok());
  EXPECT_TRUE(CheckGpus(On({"", ""}), false).ok()) << "on CPUs";
  EXPECT_TRUE(CheckGpus(On({"GPU-a", "GPU-b", "GPU-a"}), true).ok());
  const absl::Status refused = CheckGpus(On({"GPU-a", "GPU-b", "GPU-a"}), false);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("got one for ranks 0 and 2: host here pid 102 cuda:0 NVIDIA H200"));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("NCCL_MULTI_RANK_GPU_ENABLE=1"));
}

TEST(SharedGpusTest, RanksOfAGpuAreForeseen) {
  EXPECT_EQ(RanksPerGpu(4, 2, true), 2);
  EXPECT_EQ(RanksPerGpu(5, 2, true), 3);
  EXPECT_EQ(RanksPerGpu(1, 2, true), 1);
  EXPECT_EQ(RanksPerGpu(4, 1, false), 1) << "a plan for a machine with more GPUs";
  EXPECT_EQ(RanksPerGpu(4, 0, true), 1);
}

}  // namespace
}  // namespace lockstep::dist
