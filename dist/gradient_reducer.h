// Sums the flat gradient buffer over the ranks, bucket by bucket, while backward still runs. Of a
// bucket of several parts each rank has the sums of its part only; the rest of it is overwritten.
//
//   GradientReducer reducer(plan, communicator, gradients, stream);
//   for each step: for the last pack, as gradients become final:  reducer.MarkReady(i);
//                  when the step's slots are written:             reducer.MarkReady(slots_member)
//                  reducer.Finish();      // what follows on `stream` sees the sums
//
// A bucket starts when all its members are ready and the bucket before it has started: the order is
// that of the plan on every rank, whatever the order of the marks. Ordering is by `stream`; the
// host never waits on a GPU. Nothing else may write to a member between its mark and Finish. The
// dtype of the buffer does not matter here: with int64 the sums are exact.
//
// Misuse is fatal and names the parameters: marking one twice in a step, a mark out of range, or
// Finish with a member not marked.
#pragma once

#include <vector>

#include "dist/bucket_plan.h"
#include "dist/communicator.h"
#include "tensor/view.h"

namespace lockstep::dist {

class GradientReducer {
 public:
  // `gradients` is one-dimensional with plan.numel elements; it and `communicator` outlive this.
  GradientReducer(BucketPlan plan, Communicator& communicator, const View& gradients,
                  Stream stream);

  // Member `i` of the plan is final on this rank, in `stream`'s order.
  void MarkReady(int i);

  // Ends the step.
  void Finish();

  const BucketPlan& plan() const { return plan_; }
  int num_launched() const { return static_cast<int>(works_.size()); }  // in this step

 private:
  void LaunchReadyBuckets();

  const BucketPlan plan_;
  Communicator& communicator_;
  const View gradients_;
  const Stream stream_;
  std::vector<bool> ready_;                // by member
  std::vector<int> missing_;               // by bucket: members not marked yet
  std::vector<Communicator::Work> works_;  // by bucket, as far as launched
};

}  // namespace lockstep::dist
