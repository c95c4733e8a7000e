#include "trainer/verify.h"

#include <memory>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/status.h"
#include "base/stopwatch.h"
#include "data/loader.h"
#include "nn/host_tensor.h"
#include "trainer/step/data_parallel.h"
#include "trainer/step/step_gradient.h"

namespace lockstep {
namespace {

// All bits of the first step's sums, computed by the ranks of `communicator`.
std::vector<int64_t> FirstStep(const Context& context, const nn::ForwardOptions& forward,
                               const ReductionOptions& reduction, const TrainingData& data,
                               dist::Communicator* communicator, nn::Model* model) {
  data::StepLoader loader(*data.documents.train, data.train.pieces, *data.plan,
                          communicator->rank(), communicator->size(), /*first_step=*/0);
  DataParallel parallel(context, &model->parameters(), communicator, reduction);
  StepGradient(context, model->decoder(), loader.Next(), forward, /*stop_requested=*/false,
               &parallel, [](const char*, int64_t) {});
  parallel.Gather(model->parameters().sums());
  return nn::ToHost<int64_t>(context, model->parameters().sums());
}

}  // namespace

absl::StatusOr<std::string> VerifyLockstep(const Context& context,
                                           const nn::ForwardOptions& forward,
                                           const ReductionOptions& reduction,
                                           const TrainingData& data,
                                           dist::Communicator* communicator, nn::Model* model) {
  const Stopwatch watch;
  const std::vector<int64_t> together =
      FirstStep(context, forward, reduction, data, communicator, model);
  const std::unique_ptr<dist::Communicator> alone = dist::MakeSoloCommunicator();
  const std::vector<int64_t> by_itself =
      FirstStep(context, forward, reduction, data, alone.get(), model);
  int64_t different = 0;
  for (size_t i = 0; i < together.size(); ++i) different += together[i] != by_itself[i];
  different = dist::AllReduceValue(*communicator, different, dist::ReduceOp::kSum, "verify");
  if (different == 0) {
    return absl::StrFormat(
        "verified in %.1f s: the first step on 1 rank and on %d gives the same %d sums, bit for "
        "bit",
        watch.Seconds(), communicator->size(), static_cast<int64_t>(together.size()));
  }
  return UserError(
      "--verify",
      absl::StrFormat("want the same bits on 1 rank and on %d, got %d sums that differ",
                      communicator->size(), different),
      "the ranks' processors or libraries differ, or memory is at fault: run "
      "--nproc_per_node=1 --verify on each machine");
}

}  // namespace lockstep
