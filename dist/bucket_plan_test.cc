#include "dist/bucket_plan.h"

#include <gtest/gtest.h>

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
  ASSERT_EQ(plan.bucket_of.size(), plan.members.size());
  int64_t end = 0;
  int member = 0;
  for (size_t b = 0; b < plan.buckets.size(); ++b) {
    const BucketPlan::Bucket& bucket = plan.buckets[b];
    EXPECT_EQ(bucket.begin, end);  // contiguous
    EXPECT_LT(bucket.begin, bucket.end);
    EXPECT_EQ(bucket.first_member, member);
    EXPECT_LT(bucket.first_member, bucket.end_member);
    for (; member < bucket.end_member; ++member) {
      EXPECT_EQ(plan.bucket_of[member], static_cast<int>(b));
      EXPECT_GE(plan.members[member].offset, bucket.begin);
      EXPECT_LE(plan.members[member].offset + plan.members[member].numel, bucket.end);
    }
    const bool last = b + 1 == plan.buckets.size();
    const int64_t of_parameters = (last ? plan.slots_offset : bucket.end) - bucket.begin;
    if (bucket.end_member - bucket.first_member > (last && limits.num_slots > 0 ? 2 : 1)) {
      EXPECT_LE(of_parameters * limits.element_bytes, limits.cap_bytes);
    }
    if (!last) {  // full: the next bucket's first parameter would not fit
      const int next = bucket.end_member;
      const int64_t next_end = next + 1 < static_cast<int>(parameters.size())
                                   ? parameters[next + 1].offset
                                   : plan.slots_offset;
      EXPECT_GT((next_end - bucket.begin) * limits.element_bytes, limits.cap_bytes);
    }
    end = bucket.end;
  }
  EXPECT_EQ(end, plan.numel);
  EXPECT_EQ(member, static_cast<int>(plan.members.size()));
  if (limits.num_slots > 0) {
    EXPECT_EQ(plan.numel - plan.slots_offset, limits.num_slots);
    EXPECT_EQ(plan.members[plan.slots_member()].offset, plan.slots_offset);
    EXPECT_EQ(plan.bucket_of[plan.slots_member()], static_cast<int>(plan.buckets.size()) - 1);
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
    CheckPlan(PlanBuckets(parameters, limits), parameters, limits);
  }
}

TEST(BucketPlan, KnownExample) {
  const std::vector<ParameterRange> parameters = {
      {"a", 0, 3}, {"b", 4, 4}, {"c", 8, 100}, {"d", 108, 1}};
  BucketLimits limits;
  limits.cap_bytes = 64;  // 8 elements
  const BucketPlan plan = PlanBuckets(parameters, limits);
  ASSERT_EQ(plan.buckets.size(), 3u);
  EXPECT_EQ(plan.buckets[0].end, 8);    // a and b, with the gap
  EXPECT_EQ(plan.buckets[1].end, 108);  // c alone, above the cap
  EXPECT_EQ(plan.buckets[2].end, 109 + kNumStepSlots);
  EXPECT_EQ(plan.slots_offset, 109);
  const std::string text = Describe(plan, 8);
  EXPECT_NE(text.find("3 buckets"), std::string::npos) << text;
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
