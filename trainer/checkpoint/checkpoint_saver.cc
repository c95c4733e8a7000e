#include "trainer/checkpoint/checkpoint_saver.h"

#include <chrono>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/file.h"
#include "base/status.h"
#include "tensor/kernels/checksum.h"
#include "tensor/runtime.h"

namespace lockstep {

CheckpointSaver::CheckpointSaver(dist::World& world, const Context& context,
                                 const nn::FlatParameters& parameters, Options options)
    : world_(world),
      context_(context),
      parameters_(parameters),
      options_(std::move(options)),
      copy_(context, parameters, options_.copy) {
  if (world_.rank() != 0) return;
  reserving_ = std::async(std::launch::async, [this] { copy_.Reserve(); });
}

absl::Status CheckpointSaver::Save(const CheckpointState& state, int64_t best_step) {
  CHECK(!wanted_) << "[checkpoint] step " << wanted_->state.step << " was never copied";
  RETURN_IF_ERROR(Finish());  // the copy is free again
  world_.heartbeat().Report({"save", state.step});
  RETURN_IF_ERROR(CompareRanks(state.step));
  wanted_ = {state, best_step};
  return absl::OkStatus();
}

void CheckpointSaver::CopyState() {
  if (!wanted_) return;
  const Wanted wanted = *std::exchange(wanted_, std::nullopt);
  if (world_.rank() != 0) return;
  if (reserving_.valid()) reserving_.get();
  copy_.Begin();
  writing_step_ = wanted.state.step;
  writing_ = std::async(std::launch::async, [this, wanted] { return Write(wanted); });
}

// Only what all ranks have alike is worth keeping. The stream is empty afterwards.
absl::Status CheckpointSaver::CompareRanks(int64_t step) {
  parameters_.Await();
  const Tensor checksum = Tensor::Empty(*context_.allocator, DType::kI64, {1});
  const auto checksum_of = [&](const Tensor& buffer) {
    kernels::Checksum(context_.stream, buffer, checksum.Mutable("checkpoint"));
    uint64_t value = 0;
    CopyToHost(context_.stream, checksum.view(), &value);
    return absl::StrCat(value);
  };
  std::map<std::string, std::string> facts = {
      {"what products read", checksum_of(parameters_.image())}};
  if (!options_.shares_update) facts["parameters"] = checksum_of(parameters_.values());
  const absl::Status same = world_.Agree(facts);
  if (!absl::IsInvalidArgument(same)) return same;
  const std::string difference(same.message().substr(0, same.message().find("\nHINT")));
  return UserError(absl::StrCat("step ", step), absl::StrCat("ranks have come apart: ", difference),
                   "the newest checkpoint is from before; if it happens again, the memory or the "
                   "processor of the rank that differs is at fault");
}

absl::Status CheckpointSaver::Write(const Wanted& wanted) {
  if (FileExists(options_.metrics)) RETURN_IF_ERROR(SyncFile(options_.metrics));
  RETURN_IF_ERROR(WriteCheckpoint(options_.folder, wanted.state, copy_));
  return RotateCheckpoints(options_.folder, options_.save_total_limit, wanted.best_step);
}

absl::Status CheckpointSaver::Poll() {
  const bool ended =
      writing_.valid() && writing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  return ended ? writing_.get() : absl::OkStatus();
}

absl::Status CheckpointSaver::Finish() {
  if (!writing_.valid()) return absl::OkStatus();
  world_.heartbeat().Report({"save", writing_step_});
  return writing_.get();
}

}  // namespace lockstep
