#include "trainer/checkpoint/checkpoint_saver.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
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
      checksum_(Tensor::Empty(*context.allocator, DType::kI64, {1})),
      copy_(context, parameters) {
  if (world_.rank() != 0) return;
  reserving_ = std::async(std::launch::async, [this] { copy_.Reserve(); });
}

absl::Status CheckpointSaver::Save(const CheckpointState& state, int64_t best_step) {
  RETURN_IF_ERROR(Finish());  // the copy is free again
  world_.heartbeat().Report({"save", state.step});
  RETURN_IF_ERROR(CompareValues(state.step));
  if (world_.rank() != 0) return absl::OkStatus();
  std::promise<void> begun;
  copying_ = begun.get_future();
  writing_ =
      std::async(std::launch::async, [this, state, best_step, begun = std::move(begun)]() mutable {
        return Write(state, best_step, std::move(begun));
      });
  return absl::OkStatus();
}

void CheckpointSaver::BeforeUpdate() {
  if (!copying_.valid()) return;
  copying_.get();
  copy_.HoldBack();
}

// Only what all ranks have alike is worth keeping. The stream is empty afterwards.
absl::Status CheckpointSaver::CompareValues(int64_t step) {
  const auto checksum_of = [&](const Tensor& buffer) {
    kernels::Checksum(context_.stream, buffer, checksum_.Mutable("checkpoint"));
    uint64_t checksum = 0;
    CopyToHost(context_.stream, checksum_.view(), &checksum);
    return absl::StrCat(checksum);
  };
  const absl::Status same =
      world_.Agree({{"parameters", checksum_of(parameters_.values())},
                    {"what products read", checksum_of(parameters_.image())}});
  if (!absl::IsInvalidArgument(same)) return same;
  const std::string difference(same.message().substr(0, same.message().find("\nHINT")));
  return UserError(absl::StrCat("step ", step), absl::StrCat("ranks have come apart: ", difference),
                   "the newest checkpoint is from before; if it happens again, the memory or the "
                   "processor of the rank that differs is at fault");
}

absl::Status CheckpointSaver::Write(const CheckpointState& state, int64_t best_step,
                                    std::promise<void> begun) {
  if (reserving_.valid()) reserving_.get();
  copy_.Begin();
  begun.set_value();
  copy_.Wait();
  if (FileExists(options_.metrics)) RETURN_IF_ERROR(SyncFile(options_.metrics));
  RETURN_IF_ERROR(WriteCheckpoint(options_.folder, state, copy_));
  return RotateCheckpoints(options_.folder, options_.save_total_limit, best_step);
}

absl::Status CheckpointSaver::Poll() {
  const bool ended =
      writing_.valid() && writing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  return ended ? writing_.get() : absl::OkStatus();
}

absl::Status CheckpointSaver::Finish() {
  if (!writing_.valid()) return absl::OkStatus();
  world_.heartbeat().Report({"save"});
  return writing_.get();
}

}  // namespace lockstep
