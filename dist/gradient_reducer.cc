#include "dist/gradient_reducer.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace lockstep::dist {

GradientReducer::GradientReducer(BucketPlan plan, Communicator& communicator, const View& gradients,
                                 Stream stream)
    : plan_(std::move(plan)),
      communicator_(communicator),
      gradients_(gradients),
      stream_(stream),
      ready_(plan_.members.size(), false) {
  CHECK_EQ(gradients_.rank, 1) << "[gradient reducer] gradients: want one dimension";
  CHECK_EQ(gradients_.shape[0], plan_.numel)
      << "[gradient reducer] gradients: want the plan's size";
  CHECK(gradients_.contiguous()) << "[gradient reducer] gradients: want contiguous";
  for (const BucketPlan::Bucket& bucket : plan_.buckets) {
    CHECK(bucket.parts == 1 || bucket.parts == communicator_.size())
        << "[gradient reducer] want a part for each rank";
    missing_.push_back(bucket.end_member - bucket.first_member);
  }
}

void GradientReducer::MarkReady(int i) {
  CHECK(i >= 0 && i < static_cast<int>(ready_.size()))
      << "[gradient reducer] parameter " << i << ": want one of " << ready_.size();
  CHECK(!ready_[i])
      << "[gradient reducer] " << plan_.members[i].name
      << " was marked ready twice in one step: its gradient may already be on the way";
  ready_[i] = true;
  for (size_t b = works_.size(); b < plan_.buckets.size(); ++b) {
    const BucketPlan::Bucket& bucket = plan_.buckets[b];
    if (bucket.first_member <= i && i < bucket.end_member) --missing_[b];
  }
  LaunchReadyBuckets();
}

void GradientReducer::LaunchReadyBuckets() {
  for (size_t b = works_.size(); b < plan_.buckets.size() && missing_[b] == 0; ++b) {
    const BucketPlan::Bucket& bucket = plan_.buckets[b];
    const View whole = gradients_.Slice(0, bucket.begin, bucket.end);
    const std::string name = absl::StrCat("bucket ", b);
    if (bucket.parts == 1) {
      works_.push_back(communicator_.AllReduce(whole, ReduceOp::kSum, stream_, name));
      continue;
    }
    const int rank = communicator_.rank();
    const View own = gradients_.Slice(0, bucket.begin_of(rank), bucket.end_of(rank));
    works_.push_back(communicator_.ReduceScatter(whole, own, stream_, name));
  }
}

void GradientReducer::Finish() {
  std::string pending;
  int num_pending = 0;
  for (size_t i = 0; i < ready_.size(); ++i) {
    if (ready_[i]) continue;
    if (++num_pending <= 8) absl::StrAppend(&pending, "\n  ", plan_.members[i].name);
  }
  CHECK_EQ(num_pending, 0) << "[gradient reducer] the step ends and these were not marked ready:"
                           << pending << (num_pending > 8 ? "\n  …" : "");

  // Collectives run in the order of their calls, so who waits for the last has all of them.
  if (!works_.empty()) communicator_.Wait(works_.back(), stream_);
  works_.clear();
  ready_.assign(ready_.size(), false);
  for (size_t b = 0; b < plan_.buckets.size(); ++b) {
    missing_[b] = plan_.buckets[b].end_member - plan_.buckets[b].first_member;
  }
}

}  // namespace lockstep::dist
