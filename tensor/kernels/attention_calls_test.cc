#include "tensor/kernels/attention_calls.h"

#include <random>

#include "gtest/gtest.h"

namespace lockstep::kernels {
namespace {

constexpr AttentionHeads k8B = {32, 8, int64_t{2560} << 20, int64_t{2560} << 20};

std::vector<AttentionCall> Plan(const std::vector<int64_t>& lengths,
                                const AttentionHeads& heads = k8B) {
  std::vector<int32_t> starts = {0};
  for (const int64_t length : lengths) starts.push_back(starts.back() + length);
  return PlanAttentionCalls(starts.data(), lengths.size(), heads);
}

TEST(AttentionCallsTest, EqualDocumentsShareACall) {
  const auto calls = Plan({4096, 4096});
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0].count, 2);
  EXPECT_EQ(calls[0].longest, 4096);
}

TEST(AttentionCallsTest, OneLongDocumentDoesNotDragShortOnesAlong) {
  std::vector<int64_t> lengths(32, 128);
  lengths.insert(lengths.begin(), 4096);
  const auto calls = Plan(lengths);
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[1].count, 32);
  EXPECT_EQ(calls[1].longest, 128);
}

TEST(AttentionCallsTest, EveryDocumentIsInOneCallThatFitsIt) {
  std::mt19937 bits(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<int64_t> lengths;
    for (int d = bits() % 40; d >= 0; --d) {
      lengths.push_back(bits() % 5 == 0 ? 0 : 1 + bits() % (1u << (bits() % 14)));
    }
    std::vector<int> seen(lengths.size(), 0);
    for (const AttentionCall& call : Plan(lengths)) {
      EXPECT_GE(call.count, call.last - call.first);
      int64_t longest = 0;
      for (int64_t d = call.first; d < call.last; ++d) {
        ++seen[d];
        EXPECT_LE(lengths[d], call.longest);
        longest = std::max(longest, lengths[d]);
        if (lengths[d] > 0 && call.longest > 512) {
          EXPECT_GT(2 * lengths[d], call.longest / 2);
        }
      }
      EXPECT_GT(longest, 0);
    }
    for (size_t d = 0; d < lengths.size(); ++d)
      EXPECT_EQ(seen[d], 1 - (seen[d] == 0 && lengths[d] == 0));
  }
}

TEST(AttentionCallsTest, HeadsAreCutIntoGroupsThatFit) {
  const auto heads = [](int64_t heads, int64_t kv_heads, int64_t limit_bytes) {
    return Plan({8192}, {heads, kv_heads, limit_bytes, limit_bytes})[0].heads;  // 128 MiB a head
  };
  EXPECT_EQ(heads(32, 8, int64_t{8} << 30), 32);
  EXPECT_EQ(heads(32, 8, int64_t{4} << 30), 32);
  EXPECT_EQ(heads(32, 8, int64_t{2} << 30), 16);
  EXPECT_EQ(heads(32, 8, int64_t{512} << 20), 4);
  EXPECT_EQ(heads(9, 3, int64_t{512} << 20), 3);
  EXPECT_EQ(heads(32, 8, int64_t{511} << 20), 2);  // not even those of one key head
  EXPECT_EQ(heads(32, 8, int64_t{255} << 20), 1);
  EXPECT_EQ(heads(24, 8, int64_t{383} << 20), 1);  // groups of 3
  EXPECT_EQ(heads(32, 32, 1), 1);
}

TEST(AttentionCallsTest, LaunchesStayUnderTheLimit) {
  std::mt19937 bits(5);
  for (int round = 0; round < 200; ++round) {
    std::vector<int64_t> lengths;
    for (int d = bits() % 20; d >= 0; --d) lengths.push_back(1 + bits() % (1u << (bits() % 16)));
    for (const AttentionCall& call : Plan(lengths)) {
      EXPECT_LE(call.count * call.longest * call.longest * 2 * call.heads, k8B.limit_bytes)
          << call.count << " of " << call.longest;
    }
  }
}

TEST(AttentionCallsTest, LimitsDoNotDecideWhetherHeadsAreUngrouped) {
  for (const int64_t limit : {int64_t{1}, int64_t{512} << 20, int64_t{1} << 40}) {
    for (const int64_t more : {int64_t{0}, int64_t{8} << 30}) {
      const AttentionHeads heads = {32, 8, limit, k8B.group_limit_bytes, more};
      for (const int64_t length : {100, 8192, 16384, 19000, 32768}) {
        EXPECT_EQ(Plan({length, length}, heads)[0].ungrouped, length > 18318)
            << length << " rows, " << limit << " bytes";
      }
    }
  }
  EXPECT_EQ(Plan({4096, 4096}, {32, 8, int64_t{1} << 30, k8B.group_limit_bytes})[0].heads, 16);
}

TEST(AttentionCallsTest, NeighborsDoNotDecideWhetherHeadsAreUngrouped) {
  std::mt19937 bits(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<int64_t> lengths;
    for (int d = bits() % 12; d >= 0; --d) lengths.push_back(1 + bits() % 40000);
    for (const AttentionCall& call : Plan(lengths)) {
      for (int64_t d = call.first; d < call.last; ++d) {
        EXPECT_EQ(call.ungrouped, Plan({lengths[d]})[0].ungrouped) << lengths[d];
      }
    }
  }
}

TEST(AttentionCallsTest, MoreBytesAreForMoreHeadsOfTheSameCalls) {
  const auto heads = [](int64_t length, int64_t gib) {
    AttentionHeads all = k8B;
    all.more_bytes = gib << 30;
    return Plan({length}, all)[0].heads;
  };
  EXPECT_EQ(heads(32768, 0), 1);  // 2 GiB a head
  EXPECT_EQ(heads(32768, 4), 2);
  EXPECT_EQ(heads(32768, 8), 4);
  EXPECT_EQ(heads(32768, 31), 8);
  EXPECT_EQ(heads(32768, 64), 32);
  EXPECT_EQ(heads(65536, 7), 1);
  EXPECT_EQ(heads(8192, 0), 16);
  EXPECT_EQ(heads(8192, 4), 32);
  AttentionHeads all = k8B;
  all.more_bytes = int64_t{1} << 40;
  const std::vector<int64_t> lengths(40, 8000);
  const auto usual = Plan(lengths), more = Plan(lengths, all);
  ASSERT_EQ(more.size(), usual.size());
  EXPECT_EQ(more[0].count, usual[0].count);
  EXPECT_GT(more[0].heads, usual[0].heads);
}

}  // namespace
}  // namespace lockstep::kernels
