#include "trainer/train_loop.h"

#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/stopwatch.h"
#include "data/loader.h"
#include "nn/optim/adamw.h"
#include "nn/optim/lr_schedule.h"
#include "tensor/profile/range.h"
#include "trainer/step/data_parallel.h"
#include "trainer/step/evaluate.h"
#include "trainer/step/step_gradient.h"
#include "trainer/steps_in_flight.h"

namespace lockstep {
namespace {

nn::LrSchedule ScheduleOf(const OptimizerOptions& o, int64_t num_steps) {
  nn::LrSchedule schedule;
  schedule.type = o.lr_scheduler_type;
  schedule.peak = o.learning_rate;
  schedule.warmup_steps = o.warmup_steps.value_or(nn::WarmupSteps(o.warmup_ratio, num_steps));
  schedule.total_steps = num_steps;
  schedule.min_lr_rate = o.min_lr_rate;
  return schedule;
}

// The loop's parts, named so that Steps() and QueueStep() below read like the algorithm.
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
        in_flight_(run, &parallel_, &optimizer_),
        // A number that is equal on all ranks: they must see a request to stop at the same step.
        steps_ahead_(run.context.device().type == DeviceType::kCUDA ? 1 : 0) {}

  absl::StatusOr<Ending> Train() {
    ASSIGN_OR_RETURN(const Ending ending, Steps());
    CopyState();  // no step follows
    RETURN_IF_ERROR(in_flight_.SayWhereTimeWent());
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

      // While the device is at this step, the host looks at how the one before went.
      state.evaluation_due = !run_.data.evaluation.empty() && Due(run_.options.eval_steps);
      const bool saves = Due(run_.options.save_steps);
      const bool awaited = state.evaluation_due || saves || !in_flight_.has_finished_one();
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

  // One step of the algorithm: what follows here is queued on the device, and not waited for.
  void QueueStep() {
    const profile::Range range(absl::StrCat("step ", run_.state.step + 1));
    StepInFlight& step = in_flight_.Begin();
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
    in_flight_.End();
    phase_.reset();
    ++run_.state.step;
  }

  // All but the newest `remaining` ones.
  absl::Status FinishSteps(size_t remaining) {
    RETURN_IF_ERROR(in_flight_.Finish(remaining));
    stop_ = stop_ || in_flight_.stop_agreed();
    return absl::OkStatus();
  }

  void Report(const char* phase, int64_t pack = -1) {
    run_.world.heartbeat().Report({phase, run_.state.step + 1, pack});
    phase_.reset();
    phase_.emplace(pack < 0 ? phase : absl::StrCat(phase, " ", pack));
  }

  // Where the ranks agree to stop before its end, nothing of it stays: the run will go on with it.
  absl::Status EvaluateNow() {
    const std::optional<Evaluation> evaluation = Evaluate(
        run_.context, run_.model.decoder(), run_.data.validation_set(), run_.data.validation.pieces,
        run_.data.evaluation, run_.world.communicator(),
        [&](int64_t pack) { Report("evaluate", pack); },
        [&] { return run_.world.stop_requested() != 0; });
    phase_.reset();
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
  StepsInFlight in_flight_;

  const size_t steps_ahead_;  // that the host queues while it looks at the one before them
  std::optional<profile::Range> phase_;  // of the step that is queued, or of an evaluation
  bool stop_ = false;                    // the ranks have agreed to stop
};

}  // namespace

absl::StatusOr<Ending> TrainLoop(Run& run) { return Loop(run).Train(); }

}  // namespace lockstep
