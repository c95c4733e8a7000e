#include "trainer/train_loop.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/stopwatch.h"
#include "data/loader.h"
#include "nn/optim/adamw.h"
#include "nn/optim/lr_schedule.h"
#include "tensor/profile/range.h"
#include "tensor/runtime.h"
#include "trainer/step/data_parallel.h"
#include "trainer/step/evaluate.h"
#include "trainer/step/step_gradient.h"
#include "trainer/step/step_times.h"
#include "trainer/step_guards.h"

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

nn::LrSchedule ScheduleOf(const OptimizerOptions& o, int64_t num_steps) {
  nn::LrSchedule schedule;
  schedule.type = o.lr_scheduler_type;
  schedule.peak = o.learning_rate;
  schedule.warmup_steps = o.warmup_steps.value_or(nn::WarmupSteps(o.warmup_ratio, num_steps));
  schedule.total_steps = num_steps;
  schedule.min_lr_rate = o.min_lr_rate;
  return schedule;
}

int64_t TokensOf(const std::vector<data::Pack>& packs) {
  int64_t tokens = 0;
  for (const data::Pack& pack : packs) tokens += pack.num_tokens();
  return tokens;
}

// A step that the device may still be working on.
struct QueuedStep {
  QueuedStep(Device device, const View& slots_view)
      : start(Event::Create(device)),
        end(Event::Create(device)),
        slots(HostCopy::Create(device, slots_view.num_bytes())),
        norms(HostCopy::Create(device, 2 * sizeof(double))) {}

  data::RankStep work;
  double learning_rate = 0, load_s = 0;
  std::unique_ptr<Event> start, end;
  std::unique_ptr<HostCopy> slots, norms;
};

// The loop's parts, named so that Train() below reads like the algorithm.
class Loop {
 public:
  explicit Loop(Run& run)
      : run_(run),
        parallel_(run.context, &run.model.parameters(), &run.world.communicator(),
                  run.options.reduction),
        optimizer_(run.context, run.model.parameters(), run.options.optimizer.adamw,
                   dist::kOverflowSlot),
        schedule_(ScheduleOf(run.options.optimizer, run.num_steps)),
        loader_(*run.data.documents.train, run.data.train.pieces, *run.data.plan, run.world.rank(),
                run.world.size(), run.state.step),
        times_(&run.world.communicator()),
        guards_(run, &parallel_),
        // A number that is equal on all ranks: they must see a request to stop at the same step.
        steps_ahead_(run.context.device().type == DeviceType::kCUDA ? 1 : 0) {}

  absl::StatusOr<Ending> Train() {
    ASSIGN_OR_RETURN(const Ending ending, Steps());
    CopyState();  // no step follows
    RETURN_IF_ERROR(run_.log.AddTimes(times_.Flush()));
    run_.log.Say(times_.Summary());
    return ending;
  }

 private:
  absl::StatusOr<Ending> Steps() {
    CheckpointState& state = run_.state;
    if (state.evaluation_due) {  // of the untrained model, or the one that a stop cut off
      RETURN_IF_ERROR(EvaluateAndSave(/*saves=*/false));
      run_.startup.Done("evaluation");
    }
    while (state.step < run_.num_steps && !stop_ && !OutOfPatience()) {
      RETURN_IF_ERROR(StartProfile());
      QueueStep();
      RETURN_IF_ERROR(StopProfile());
      state.evaluation_due = !run_.data.evaluation.empty() && Due(run_.options.eval_steps);
      const bool saves = Due(run_.options.save_steps);
      const bool awaited = state.evaluation_due || saves || !has_finished_a_step_;
      RETURN_IF_ERROR(FinishSteps(awaited ? 0 : steps_ahead_));
      RETURN_IF_ERROR(run_.saver.Poll());
      RETURN_IF_ERROR(EvaluateAndSave(saves));
    }
    if (IsInterrupted()) return Ending::kInterrupted;
    return OutOfPatience() ? Ending::kEarlyStopped : Ending::kDone;
  }

  // What comes between two steps.
  absl::Status EvaluateAndSave(bool saves) {
    if (run_.state.evaluation_due && !stop_) RETURN_IF_ERROR(EvaluateNow());
    if (IsInterrupted()) RETURN_IF_ERROR(FinishSteps(0));
    if (saves || IsInterrupted() || OutOfPatience() || IsBestSoFar()) return Save();
    return absl::OkStatus();
  }

  absl::Status StartProfile() {
    if (!run_.profiler.Begins(run_.state.step + 1)) return absl::OkStatus();
    RETURN_IF_ERROR(FinishSteps(0));
    return run_.profiler.Start(run_.context.stream);
  }

  absl::Status StopProfile() {
    if (!run_.profiler.Ends(run_.state.step)) return absl::OkStatus();
    RETURN_IF_ERROR(FinishSteps(0));
    ASSIGN_OR_RETURN(const std::string table,
                     run_.profiler.Stop(run_.context.stream, run_.state.step));
    run_.log.Say(table);
    return absl::OkStatus();
  }

  // Everything that a step does, queued; of its figures, copies are under way.
  void QueueStep() {
    const profile::Range range(absl::StrCat("step ", run_.state.step + 1));
    // What evaluations and checkpoints have waited for is no step's.
    if (queued_.empty()) waited_ms_ = run_.world.communicator().waited_ms();
    QueuedStep& step = queued_.emplace_back(TakeSpare());
    step.start->Record(run_.context.stream);
    const Stopwatch loading;
    step.work = loader_.Next();
    step.load_s = loading.Seconds();

    // The gradient of the mean loss: a sum over the packs of all ranks, exact in any order.
    StepGradient(run_.context, run_.model.decoder(), step.work, run_.forward,
                 run_.world.stop_requested() != 0, &parallel_,
                 [&](const char* phase, int64_t pack) { Report(phase, pack); });

    Report("optimizer");
    // One AdamW step along the clipped gradient, the same on every rank.
    step.learning_rate = schedule_.At(step.work.step + 1);
    CopyState();
    parallel_.Update(&optimizer_, step.work.step + 1, step.learning_rate);
    step.slots->Begin(run_.context.stream, parallel_.slots());
    step.norms->Begin(run_.context.stream, optimizer_.norm_and_factor());
    step.end->Record(run_.context.stream);
    phase_.reset();
    ++run_.state.step;
  }

  // Waits for the oldest steps until `in_flight` remain, and says how they went.
  absl::Status FinishSteps(size_t in_flight) {
    while (queued_.size() > in_flight) {
      QueuedStep step = std::move(queued_.front());
      queued_.pop_front();
      RETURN_IF_ERROR(Finish(step));
      spare_.push_back(std::move(step));
    }
    return absl::OkStatus();
  }

  absl::Status Finish(QueuedStep& step) {
    step.slots->Wait();
    step.norms->Wait();
    step.end->Wait();
    const StepSums sums = parallel_.Decode(step.slots->data());
    stop_ = stop_ || sums.stop;

    const double step_s = step.end->SecondsSince(*step.start);
    if (!std::exchange(has_finished_a_step_, true)) {
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

  QueuedStep TakeSpare() {
    if (spare_.empty()) return QueuedStep(run_.context.device(), parallel_.slots());
    QueuedStep step = std::move(spare_.back());
    spare_.pop_back();
    return step;
  }

  void Report(const char* phase, int64_t pack = -1) {
    run_.world.heartbeat().Report({phase, run_.state.step + 1, pack});
    phase_.reset();
    phase_.emplace(pack < 0 ? phase : absl::StrCat(phase, " ", pack));
  }

  StepRecord RecordOf(const QueuedStep& step, const StepSums& sums, double seconds) const {
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

  // Unless the ranks agree to stop before its end: then the run goes on with it.
  absl::Status EvaluateNow() {
    const std::optional<Evaluation> evaluation = Evaluate(
        run_.context, run_.model.decoder(), run_.data.validation_set(), run_.data.validation.pieces,
        run_.data.evaluation, run_.world.communicator(),
        [&](int64_t pack) { Report("evaluate", pack); },
        [&] { return run_.world.stop_requested() != 0; });
    stop_ = !evaluation.has_value();
    if (stop_) return absl::OkStatus();
    CheckpointState& state = run_.state;
    state.evaluation_due = false;
    const bool better = !std::isnan(evaluation->loss) &&
                        (state.best_step < 0 || evaluation->loss < state.best_eval_loss);
    state.evals_since_best = better ? 0 : state.evals_since_best + 1;
    if (better) {
      state.best_step = state.step;
      state.best_eval_loss = evaluation->loss;
    }
    RETURN_IF_ERROR(
        run_.log.Add(EvalRecord{state.step, evaluation->loss, evaluation->supervised_tokens}));
    return run_.on_evaluation();
  }

  // The next step copies it, or the end of all steps.
  absl::Status Save() {
    RETURN_IF_ERROR(run_.saver.Save(
        run_.state, run_.options.early_stopping_patience ? run_.state.best_step : -1));
    parallel_.RequestState();
    return absl::OkStatus();
  }

  // Before what was saved last changes.
  void CopyState() {
    parallel_.AwaitState();
    run_.saver.CopyState();
  }

  // After every N-th step, and after the last.
  bool Due(int64_t every) const {
    return run_.state.step == run_.num_steps || (every > 0 && run_.state.step % every == 0);
  }

  // Something is left to do: asked to stop when all is done, a run is done.
  bool IsInterrupted() const {
    return stop_ && (run_.state.step < run_.num_steps || run_.state.evaluation_due);
  }

  bool OutOfPatience() const {
    const std::optional<int64_t>& patience = run_.options.early_stopping_patience;
    return patience && run_.state.evals_since_best >= *patience;
  }

  // Early stopping keeps the checkpoint of the lowest evaluation.
  bool IsBestSoFar() const {
    return run_.options.early_stopping_patience && run_.state.best_step == run_.state.step;
  }

  Run& run_;
  DataParallel parallel_;
  nn::AdamW optimizer_;
  const nn::LrSchedule schedule_;
  data::StepLoader loader_;
  StepTimes times_;
  StepGuards guards_;

  // The host queues this many steps while it looks at the one before them.
  const size_t steps_ahead_;
  std::deque<QueuedStep> queued_;
  std::vector<QueuedStep> spare_;
  double waited_ms_ = 0;  // by the communicator's clock, until the last step that was finished
  bool has_finished_a_step_ = false;
  std::optional<profile::Range> phase_;  // of the step that is being queued
  bool stop_ = false;                    // the ranks have agreed to stop
};

}  // namespace

absl::StatusOr<Ending> TrainLoop(Run& run) { return Loop(run).Train(); }

}  // namespace lockstep
