#include "trainer/steps_in_flight.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/status.h"

namespace lockstep {
namespace {

// Passes over the data after step `step` (from 0).
double EpochAfter(const TrainingData& data, int64_t step) {
  const int64_t per_epoch = data.plan->steps_per_epoch();
  const auto pieces = static_cast<double>(data.train.pieces.size());
  const double seen =
      static_cast<double>((step % per_epoch + 1) * data.plan_options.global_batch_size);
  return static_cast<double>(step / per_epoch) + std::min(seen, pieces) / pieces;
}

int64_t TokensOf(const std::vector<data::Pack>& packs) {
  int64_t tokens = 0;
  for (const data::Pack& pack : packs) tokens += pack.num_tokens();
  return tokens;
}

}  // namespace

StepsInFlight::StepsInFlight(Run& run, DataParallel* parallel, const nn::AdamW* optimizer)
    : run_(run),
      parallel_(parallel),
      optimizer_(optimizer),
      guards_(run, parallel),
      times_(&run.world.communicator()) {}

StepInFlight StepsInFlight::TakeSpare() {
  if (spare_.empty()) {
    const Device device = run_.context.device();
    StepInFlight step;
    step.start = Event::Create(device);
    step.end = Event::Create(device);
    step.slots = HostCopy::Create(device, View(parallel_->slots()).num_bytes());
    step.norms = HostCopy::Create(device, View(optimizer_->norm_and_factor()).num_bytes());
    return step;
  }
  StepInFlight step = std::move(spare_.back());
  spare_.pop_back();
  return step;
}

StepInFlight& StepsInFlight::Begin() {
  // What evaluations and checkpoints have waited for is no step's.
  if (queued_.empty()) waited_ms_ = run_.world.communicator().waited_ms();
  StepInFlight& step = queued_.emplace_back(TakeSpare());
  step.start->Record(run_.context.stream);
  return step;
}

void StepsInFlight::End() {
  StepInFlight& step = queued_.back();
  step.slots->Begin(run_.context.stream, parallel_->slots());
  step.norms->Begin(run_.context.stream, optimizer_->norm_and_factor());
  step.end->Record(run_.context.stream);
}

absl::Status StepsInFlight::Finish(size_t remaining) {
  while (queued_.size() > remaining) {
    StepInFlight step = std::move(queued_.front());
    queued_.pop_front();
    RETURN_IF_ERROR(FinishOldest(step));
    spare_.push_back(std::move(step));
  }
  return absl::OkStatus();
}

absl::Status StepsInFlight::FinishOldest(StepInFlight& step) {
  step.slots->Wait();
  step.norms->Wait();
  step.end->Wait();
  const StepSums sums = parallel_->Decode(step.slots->data());
  stop_agreed_ = stop_agreed_ || sums.stop;

  const double step_s = step.end->SecondsSince(*step.start);
  if (!std::exchange(has_finished_one_, true)) {
    run_.startup.Done("first step");
    run_.log.Say(run_.startup.Line());
  }
  const StepRecord record = RecordOf(step, sums, step_s);
  RETURN_IF_ERROR(run_.log.Add(record));
  RETURN_IF_ERROR(guards_.Check(record));
  const double waited_ms = run_.world.communicator().waited_ms();
  const double exposed_ms = waited_ms - std::exchange(waited_ms_, waited_ms);
  return run_.log.AddTimes(times_.Add({step.work.step + 1, 1e3 * step_s, exposed_ms,
                                       1e3 * step.load_s, TokensOf(step.work.packs)}));
}

StepRecord StepsInFlight::RecordOf(const StepInFlight& step, const StepSums& sums,
                                   double seconds) const {
  const data::RankStep& work = step.work;
  double norm_and_factor[2];
  std::memcpy(norm_and_factor, step.norms->data(), sizeof(norm_and_factor));
  StepRecord record;
  record.step = work.step + 1;
  record.epoch = EpochAfter(run_.data, work.step);
  // Sums from which contributions are missing are no sums.
  const double whole = sums.num_overflow == 0 ? 1 : std::nan("");
  record.loss = whole * sums.loss_sum / static_cast<double>(work.num_supervised);
  record.grad_norm = whole * norm_and_factor[0];
  record.grad_norm_clipped = record.grad_norm * norm_and_factor[1];
  record.learning_rate = step.learning_rate;
  record.tokens = work.num_tokens;
  record.supervised_tokens = work.num_supervised;
  record.step_time_s = seconds;
  record.tokens_per_second = static_cast<double>(work.num_tokens) / seconds;
  return record;
}

absl::Status StepsInFlight::SayWhereTimeWent() {
  RETURN_IF_ERROR(run_.log.AddTimes(times_.Flush()));
  run_.log.Say(times_.Summary());
  return absl::OkStatus();
}

}  // namespace lockstep
