#include "dist/member.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::dist {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(MemberTest, TheStoreHasAllOfIt) {
  const Member member = {
      11, 1, 3, "node-b", 4242, "GPU-5d", "cuda:3 NVIDIA H200, 139.8 GiB,\tdriver 580"};
  const auto read = DecodeMember(Encode(member));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->rank, 11);
  EXPECT_EQ(read->node, 1);
  EXPECT_EQ(read->local_rank, 3);
  EXPECT_EQ(read->host, "node-b");
  EXPECT_EQ(read->pid, 4242);
  EXPECT_EQ(read->gpu, "GPU-5d");
  EXPECT_EQ(read->device, member.device);
  EXPECT_FALSE(DecodeMember("1\t2").ok());
  EXPECT_FALSE(DecodeMember("one\t0\t0\thost\t1\t\tcpu").ok());
}

TEST(MemberTest, ALongTableIsCut) {
  std::vector<Member> members;
  for (int rank = 0; rank < 5; ++rank)
    members.push_back({rank, 0, rank, "here", 100 + rank, "", "cpu"});
  LaunchEnv env;
  env.launch = "torchrun";
  const std::string table = MemberTable(members, 3, env);
  EXPECT_THAT(table, HasSubstr(" 102  cpu\n…\nstarted by torchrun"));
  EXPECT_THAT(table, Not(HasSubstr("103")));
  EXPECT_THAT(MemberTable(members, 5, env), HasSubstr(" 104  cpu\nstarted"));
}

TEST(MemberTest, RanksThatShareAGpuAreShown) {
  const std::vector<Member> members = {{0, 0, 0, "here", 100, "GPU-a", "cuda:0 H200"},
                                       {1, 0, 1, "here", 101, "GPU-b", "cuda:1 H200"},
                                       {2, 0, 2, "here", 102, "GPU-a", "cuda:0 H200"}};
  EXPECT_EQ(RanksOnGpuOf(members[0], members), 2);
  EXPECT_EQ(RanksOnGpuOf(members[1], members), 1);
  EXPECT_EQ(RanksOnGpuOf({3, 0, 3, "here", 103, "", "cpu"}, members), 1);
  const std::string table = MemberTable(members, 5, LaunchEnv());
  EXPECT_THAT(table, HasSubstr(" 100  cuda:0 H200, shared by 2 ranks\n"));
  EXPECT_THAT(table, HasSubstr(" 101  cuda:1 H200\n"));
  EXPECT_THAT(table, HasSubstr(" 102  cuda:0 H200, shared by 2 ranks\n"));
}

}  // namespace
}  // namespace lockstep::dist
