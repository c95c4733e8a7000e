#include "dist/bucket_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"

namespace lockstep::dist {
namespace {

constexpr int64_t kAlign = 32;  // elements

std::vector<ParameterRange> RandomParameters(std::mt19937& random, int count) {
  std::vector<ParameterRange> parameters;
  int64_t offset = 0;
  for (int i = 0; i < count; ++i) {
    const int64_t numel = 1 + static_cast<int64_t>(random() % 500);
    parameters.push_back({absl::StrCat("p", i), offset, numel});
    offset += (numel + kAlign - 1) / kAlign * kAlign;
  }
  return parameters;
}

// The properties that everything else relies on.
void CheckPlan(const BucketPlan& plan, const std::vector<ParameterRange>& parameters,
               const BucketLimits& limits) {
  ASSERT_EQ(plan.members.size(), parameters.size() + (limits.num_slots > 0));
  const int64_t group = limits.parts * limits.part_unit;
  int64_t end = 0;
  for (size_t b = 0; b < plan.buckets.size(); ++b) {
    const BucketPlan::Bucket& bucket = plan.buckets[b];
    EXPECT_EQ(bucket.begin, end);  // contiguous
    EXPECT_LT(bucket.begin, bucket.end);
    end = bucket.end;

    const bool is_shared = bucket.begin < plan.shared;
    EXPECT_EQ(bucket.parts, is_shared ? limits.parts : 1);
    for (int rank = 0; rank < limits.parts; ++rank) {
      if (!is_shared) {
        EXPECT_EQ(bucket.begin_of(rank), bucket.begin);
        EXPECT_EQ(bucket.end_of(rank), bucket.end);
        continue;
      }
      EXPECT_EQ(bucket.begin_of(rank), rank == 0 ? bucket.begin : bucket.end_of(rank - 1));
      EXPECT_EQ(bucket.begin_of(rank) % limits.part_unit, 0);
      EXPECT_EQ(bucket.end_of(rank) % limits.part_unit, 0);
    }

    const int64_t numel = std::min(bucket.end, plan.slots_offset) - bucket.begin;
    const int64_t least = is_shared ? group : 1;
    EXPECT_LE(numel * limits.element_bytes, std::max(limits.cap_bytes, 8 * least));
    // Exactly the members that have elements in it.
    for (int i = 0; i < static_cast<int>(plan.members.size()); ++i) {
      const ParameterRange& member = plan.members[i];
      const bool inside = i >= bucket.first_member && i < bucket.end_member;
      if (member.offset < bucket.end && member.offset + member.numel > bucket.begin) {
        EXPECT_TRUE(inside) << member.name;
      } else if (inside) {  // its gap is in there
        EXPECT_GE(bucket.begin, member.offset + member.numel);
      }
    }
  }
  EXPECT_EQ(end, plan.numel);
  EXPECT_EQ(plan.shared, limits.parts == 1 ? 0 : plan.slots_offset / group * group);
  if (limits.num_slots > 0) {
    EXPECT_EQ(plan.numel - plan.slots_offset, limits.num_slots);
    EXPECT_EQ(plan.members[plan.slots_member()].offset, plan.slots_offset);
    EXPECT_EQ(plan.buckets.back().end_member, plan.slots_member() + 1);
  }
}

TEST(BucketPlan, PropertiesHoldForAnySizes) {
  std::mt19937 random(7);
  for (int trial = 0; trial < 300; ++trial) {
    const auto parameters = RandomParameters(random, 1 + static_cast<int>(random() % 40));
    BucketLimits limits;
    limits.cap_bytes = 1 + static_cast<int64_t>(random() % 30000);
    limits.element_bytes = trial % 2 ? 8 : 4;
    limits.num_slots = trial % 3 ? kNumStepSlots : 0;
    limits.parts = 1 + trial % 5;
    limits.part_unit = trial % 7 ? 64 : 1;
    CheckPlan(PlanBuckets(parameters, limits), parameters, limits);
  }
}

TEST(BucketPlan, KnownExample) {
  const std::vector<ParameterRange> parameters = {
      {"a", 0, 3}, {"b", 4, 4}, {"c", 8, 100}, {"d", 108, 1}};
  BucketLimits limits;
  limits.cap_bytes = 320;  // 40 elements
  BucketPlan plan = PlanBuckets(parameters, limits);
  ASSERT_EQ(plan.buckets.size(), 3u);
  EXPECT_EQ(plan.buckets[0].end, 40);  // a, b and the beginning of c
  EXPECT_EQ(plan.buckets[0].end_member, 3);
  EXPECT_EQ(plan.buckets[1].first_member, 2);  // c
  EXPECT_EQ(plan.buckets[2].end, 109 + kNumStepSlots);
  EXPECT_EQ(plan.slots_offset, 109);
  const std::string text = Describe(plan, 8);
  EXPECT_NE(text.find("3 buckets"), std::string::npos) << text;
  EXPECT_NE(text.find("a .. c\n"), std::string::npos) << text;

  limits.parts = 3;
  limits.part_unit = 8;
  plan = PlanBuckets(parameters, limits);
  ASSERT_EQ(plan.buckets.size(), 5u);
  EXPECT_EQ(plan.shared, 96);
  EXPECT_EQ(plan.buckets[1].begin_of(2), 40);
  EXPECT_EQ(plan.buckets[1].end_of(2), 48);
  EXPECT_EQ(plan.buckets[4].begin, 96);  // what three cannot share
  EXPECT_EQ(plan.buckets[4].end, 109 + kNumStepSlots);

  limits.cap_bytes = 640;  // 80 elements: three times what each of three can have 8 of
  plan = PlanBuckets(parameters, limits);
  ASSERT_EQ(plan.buckets.size(), 3u);
  EXPECT_EQ(plan.buckets[0].end, 72);
  EXPECT_EQ(plan.buckets[1].end, 96);
}

TEST(BucketPlan, ABucketDoesNotWaitForWhatEndsWhereItBegins) {
  const std::vector<ParameterRange> parameters = {{"a", 0, 3}, {"b", 4, 4}, {"c", 8, 4}};
  const BucketPlan plan = PlanBuckets(parameters, {/*cap_bytes=*/32, /*element_bytes=*/8});
  ASSERT_EQ(plan.buckets.size(), 3u);
  for (int b = 0; b < 3; ++b) {
    EXPECT_EQ(plan.buckets[b].first_member, b);
    EXPECT_EQ(plan.buckets[b].end_member, b < 2 ? b + 1 : plan.slots_member() + 1);
  }
}

TEST(BucketPlan, OnlySlots) {
  const BucketPlan plan = PlanBuckets({}, {1 << 20, 8, kNumStepSlots});
  ASSERT_EQ(plan.buckets.size(), 1u);
  EXPECT_EQ(plan.numel, kNumStepSlots);
}

TEST(BucketPlanDeathTest, OverlapNamesTheParameter) {
  const std::vector<ParameterRange> parameters = {{"first", 0, 8}, {"second", 4, 8}};
  EXPECT_DEATH(PlanBuckets(parameters, {64, 8, 0}), "second");
}

}  // namespace
}  // namespace lockstep::dist
