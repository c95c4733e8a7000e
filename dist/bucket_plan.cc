#include "dist/bucket_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"

namespace lockstep::dist {
namespace {

void CheckRanges(absl::Span<const ParameterRange> parameters) {
  int64_t end = 0;
  for (const ParameterRange& p : parameters) {
    CHECK_GT(p.numel, 0) << "[bucket plan] " << p.name << ": no elements";
    CHECK_GE(p.offset, end) << "[bucket plan] " << p.name << ": begins before its predecessor ends";
    end = p.offset + p.numel;
  }
}

// Elements [begin, end) in buckets of `size`.
void Cut(BucketPlan* plan, int64_t begin, int64_t end, int64_t size, int parts) {
  for (; begin < end; begin += size) {
    BucketPlan::Bucket bucket;
    bucket.begin = begin;
    bucket.end = std::min(begin + size, end);
    bucket.parts = parts;
    plan->buckets.push_back(bucket);
  }
}

// Which members each bucket has elements of. A member brings the gap behind it.
void FindMembers(BucketPlan* plan) {
  const int num_members = static_cast<int>(plan->members.size());
  const auto begin_of = [&](int i) { return i == 0 ? 0 : plan->members[i].offset; };
  const auto end_of = [&](int i) { return i + 1 < num_members ? begin_of(i + 1) : plan->numel; };
  int first = 0;
  for (BucketPlan::Bucket& bucket : plan->buckets) {
    while (end_of(first) <= bucket.begin) ++first;
    bucket.first_member = bucket.end_member = first;
    while (bucket.end_member < num_members && begin_of(bucket.end_member) < bucket.end) {
      ++bucket.end_member;
    }
  }
}

}  // namespace

BucketPlan PlanBuckets(absl::Span<const ParameterRange> parameters, const BucketLimits& limits) {
  CHECK_GT(limits.cap_bytes, 0);
  CHECK_GT(limits.element_bytes, 0);
  CHECK_GE(limits.num_slots, 0);
  CHECK_GT(limits.parts, 0);
  CHECK_GT(limits.part_unit, 0);
  CheckRanges(parameters);

  BucketPlan plan;
  plan.members.assign(parameters.begin(), parameters.end());
  plan.slots_offset = parameters.empty() ? 0 : parameters.back().offset + parameters.back().numel;
  plan.num_slots = limits.num_slots;
  plan.numel = plan.slots_offset + limits.num_slots;

  const int64_t cap = std::max<int64_t>(1, limits.cap_bytes / limits.element_bytes);
  if (limits.parts > 1) {
    const int64_t group = limits.parts * limits.part_unit;
    plan.shared = plan.slots_offset / group * group;
    Cut(&plan, 0, plan.shared, std::max<int64_t>(1, cap / group) * group, limits.parts);
  }
  Cut(&plan, plan.shared, plan.slots_offset, cap, 1);

  if (limits.num_slots > 0) {  // they ride in the last bucket, above the cap if need be
    plan.members.push_back({"the step's slots", plan.slots_offset, limits.num_slots});
    if (plan.shared == plan.slots_offset) Cut(&plan, plan.slots_offset, plan.numel, cap + 1, 1);
    plan.buckets.back().end = plan.numel;
  }
  FindMembers(&plan);
  return plan;
}

std::string Describe(const BucketPlan& plan, int element_bytes) {
  std::string text = absl::StrFormat(
      "%d bucket%s of one flat buffer, %.2f MB\n", static_cast<int>(plan.buckets.size()),
      plan.buckets.size() == 1 ? "" : "s", 1e-6 * static_cast<double>(plan.numel * element_bytes));
  for (size_t b = 0; b < plan.buckets.size(); ++b) {
    const BucketPlan::Bucket& bucket = plan.buckets[b];
    absl::StrAppendFormat(&text, "  bucket %d: %.2f MB, %s .. %s\n", static_cast<int>(b),
                          1e-6 * static_cast<double>((bucket.end - bucket.begin) * element_bytes),
                          plan.members[bucket.first_member].name,
                          plan.members[bucket.end_member - 1].name);
  }
  return text;
}

}  // namespace lockstep::dist
