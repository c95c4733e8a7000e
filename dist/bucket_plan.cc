#include "dist/bucket_plan.h"

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

}  // namespace

BucketPlan PlanBuckets(absl::Span<const ParameterRange> parameters, const BucketLimits& limits) {
  CHECK_GT(limits.cap_bytes, 0);
  CHECK_GT(limits.element_bytes, 0);
  CHECK_GE(limits.num_slots, 0);
  CheckRanges(parameters);

  BucketPlan plan;
  plan.members.assign(parameters.begin(), parameters.end());
  plan.slots_offset = parameters.empty() ? 0 : parameters.back().offset + parameters.back().numel;
  plan.num_slots = limits.num_slots;
  plan.numel = plan.slots_offset + limits.num_slots;

  const int64_t cap = limits.cap_bytes / limits.element_bytes;
  const int num_parameters = static_cast<int>(parameters.size());
  for (int i = 0; i < num_parameters; ++i) {
    // A parameter brings the gap behind it.
    const int64_t begin = i == 0 ? 0 : parameters[i].offset;
    const int64_t end = i + 1 < num_parameters ? parameters[i + 1].offset : plan.slots_offset;
    if (plan.buckets.empty() || end - plan.buckets.back().begin > cap) {
      plan.buckets.push_back({begin, begin, i, i});
    }
    plan.buckets.back().end = end;
    plan.buckets.back().end_member = i + 1;
    plan.bucket_of.push_back(static_cast<int>(plan.buckets.size()) - 1);
  }

  if (limits.num_slots > 0) {  // the slots ride in the last bucket, above the cap if need be
    plan.members.push_back({"the step's slots", plan.slots_offset, limits.num_slots});
    if (plan.buckets.empty()) plan.buckets.push_back({0, 0, 0, 0});
    plan.buckets.back().end = plan.numel;
    plan.buckets.back().end_member = num_parameters + 1;
    plan.bucket_of.push_back(static_cast<int>(plan.buckets.size()) - 1);
  }
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
