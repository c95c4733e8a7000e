#include "trainer/run.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/num_cores.h"
#include "base/progress.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "dist/exit_code.h"
#include "dist/nccl_communicator.h"
#include "dist/stop_signals.h"
#include "dist/world.h"
#include "nn/model.h"
#include "tensor/parking.h"
#include "tensor/runtime.h"
#include "trainer/checkpoint/checkpoint_saver.h"
#include "trainer/checkpoint/run_identity.h"
#include "trainer/output_folder.h"
#include "trainer/plan/memory_plan.h"
#include "trainer/plan/num_steps.h"
#include "trainer/plan/training_data.h"
#include "trainer/prepare.h"
#include "trainer/rehearsal.h"
#include "trainer/report/environment.h"
#include "trainer/report/run_log.h"
#include "trainer/report/startup_times.h"
#include "trainer/run_output.h"
#include "trainer/run_start.h"
#include "trainer/step/data_parallel.h"
#include "trainer/step/step_profiler.h"
#include "trainer/train_loop.h"
#include "trainer/verify.h"

namespace lockstep {
namespace {

// A GPU for each local rank, or its share of one (dist/shared_gpus.h).
Device DeviceOf(const TrainOptions& options, const dist::LaunchEnv& env) {
  if (options.device != "cuda") return Device();
  return {DeviceType::kCUDA, static_cast<int8_t>(env.local_rank % std::max(1, CudaDeviceCount()))};
}

dist::WorldOptions WorldOptionsFor(const TrainOptions& options, const Runtime& runtime) {
  dist::WorldOptions world;
  world.stall_timeout_seconds = options.stall_timeout_s;
  const Device device = runtime.context().stream.device;
  if (device.type == DeviceType::kCPU) return world;
  world.device = absl::StrCat("cuda:", device.index, " ", runtime.Describe());
  world.gpu = runtime.gpu_id();
  world.make_communicator = [device](int rank, int size, dist::StoreClient& store,
                                     dist::Communicator::FailureHandler on_failure) {
    dist::NcclOptions nccl;
    nccl.device = device;
    nccl.on_failure = std::move(on_failure);
    return dist::MakeNcclCommunicator(rank, size, store, std::move(nccl));
  };
  return world;
}

// Rank 0 looks at the output folder, which no other run writes to, and tells the others.
absl::StatusOr<RunStart> AgreeOnStart(dist::World& world, const TrainOptions& options,
                                      const RunIdentity& identity, OutputFolder& folder) {
  constexpr char kKey[] = "run start";
  constexpr double kEndingSeconds = 5;  // that killed ranks may take to be gone
  if (world.rank() == 0) {
    ASSIGN_OR_RETURN(folder, OutputFolder::Choose(options));
    RETURN_IF_ERROR(folder.Lock(kEndingSeconds));
    ASSIGN_OR_RETURN(const RunStart start,
                     DecideStart(folder.path(), options, identity, &ReadCheckpoint));
    RETURN_IF_ERROR(world.store().Set(kKey, EncodeStart(start)));
    return start;
  }
  ASSIGN_OR_RETURN(const std::string text,
                   world.store().Wait(kKey, std::chrono::milliseconds(600'000)));
  return DecodeStart(text);
}

// Rank 0 reads the checkpoint; all have its values and moments afterwards.
absl::Status RestoreOnAllRanks(dist::World& world, const Context& context,
                               const std::string& checkpoint, nn::FlatParameters* parameters) {
  if (world.rank() == 0) RETURN_IF_ERROR(RestoreParameters(context, checkpoint, parameters));
  for (const Tensor& buffer : parameters->state()) {
    dist::Communicator& communicator = world.communicator();
    communicator.Wait(
        communicator.Broadcast(buffer.Mutable("restore"), 0, context.stream, "checkpoint"),
        context.stream);
  }
  parameters->RefreshImage(context);
  return absl::OkStatus();
}

// Every option and file that decides the result, and what decides which collectives are called.
std::map<std::string, std::string> FactsThatRanksShare(const TrainOptions& options,
                                                       const Prepared& prepared) {
  std::map<std::string, std::string> facts = {
      {"program", BinaryHash()},
      {"step plan", prepared.data->plan->Hash()},
      {"--tokens_per_pack", absl::StrCat(prepared.data->plan_options.tokens_per_pack)},
      {"--bucket_cap_mb", absl::StrCat(options.reduction.bucket_cap_mb)},
      {"--eval_steps", absl::StrCat(options.eval_steps)},
      {"--save_steps", absl::StrCat(options.save_steps)},
      {"--verify", options.verify ? "true" : "false"}};
  constexpr size_t kMaxShown = 60;
  for (const auto& [name, value] : prepared.identity) {
    const bool is_flag = !absl::StartsWith(name, "content of ");
    facts[absl::StrCat(is_flag ? "--" : "", name)] =
        value.size() <= kMaxShown ? value : HashHex(value);
  }
  return facts;
}

int ExitCodeOf(Ending ending, dist::World& world) {
  if (ending != Ending::kInterrupted) return dist::kExitDone;
  // The signal may not have reached every rank when the stop was agreed on.
  return static_cast<int>(dist::AllReduceValue(
      world.communicator(), int64_t{world.stop_requested()}, dist::ReduceOp::kMax, "stop"));
}

// The plan is for the machine and GPU that have least memory: all ranks compute alike. Ranks that
// share a GPU share what is free of it.
absl::StatusOr<MemoryPlan> PlanMemory(const TrainOptions& options, const TrainingData& data,
                                      const Runtime& runtime, dist::World& world) {
  const auto least = [&](int64_t bytes) {
    return -dist::AllReduceValue(world.communicator(), -bytes, dist::ReduceOp::kMax, "memory");
  };
  const int sharing =
      dist::RanksOnGpuOf(world.members()[static_cast<size_t>(world.rank())], world.members());
  const FreeMemory available = {.host = least(AvailableMemory()),
                                .device = least(runtime.FreeBytes() / sharing)};
  ASSIGN_OR_RETURN(const auto planner,
                   MemoryPlanner::Create(options, data, NumSteps(options, *data.plan)));
  return planner->Choose(options, world.env().local_world_size, available);
}

// For values and moments; none where they are copied to host memory.
Tensor MemoryForCopy(const Context& context, const MemoryPlan& memory, const dist::World& world) {
  if (memory.device_copy == 0 || world.rank() != 0) return Tensor();
  return Tensor::Empty(*context.allocator, DType::kF32, {3, memory.num_elements});
}

// Of a run that goes on from another folder: its own has early stopping's best checkpoint, too.
absl::Status BringBest(const TrainOptions& options, const RunStart& start) {
  const std::string best = BestCheckpoint(start, options);
  const std::string own = JoinPath(CheckpointFolder(start), CheckpointName(start.state.best_step));
  if (best.empty() || !FileExists(best) || FileExists(own)) return absl::OkStatus();
  return CopyCheckpoint(best, CheckpointFolder(start));
}

// Early stopping's result is the best evaluation's, wherever the run has ended.
absl::Status RestoreBest(Run& run, const RunStart& start) {
  const CheckpointState& state = run.state;
  if (!run.options.early_stopping_patience) return absl::OkStatus();
  if (state.best_step < 0 || state.best_step >= state.step) return absl::OkStatus();
  RETURN_IF_ERROR(run.saver.Finish());
  const std::string best = JoinPath(CheckpointFolder(start), CheckpointName(state.best_step));
  RETURN_IF_ERROR(RestoreOnAllRanks(run.world, run.context, best, &run.model.parameters()));
  run.log.Say(absl::StrCat("the best evaluation was after step ", state.best_step,
                           ": its parameters are the result"));
  return absl::OkStatus();
}

// A frozen base model with small trainable adapters, or every weight.
absl::StatusOr<std::unique_ptr<nn::Model>> LoadModel(const Context& context,
                                                     const TrainOptions& options,
                                                     const TrainingData& data) {
  nn::ModelOptions model = options.model;
  model.num_slots = dist::kNumStepSlots;
  model.largest_pack = data.plan_options.tokens_per_pack;
  return nn::Model::Load(context, model);
}

// Where the run stands before the first step that it takes here.
CheckpointState StateAtStart(const Prepared& prepared) {
  CheckpointState state = prepared.start.state;
  state.identity = prepared.identity;
  state.tokens_per_pack = prepared.data->plan_options.tokens_per_pack;
  if (prepared.start.kind == RunStart::Kind::kNew) {
    state.evaluation_due = !prepared.data->evaluation.empty();
  }
  return state;
}

absl::Status EndRun(Run& run, Ending ending, const RunStart& start, RunOutput& output) {
  if (ending == Ending::kEarlyStopped) {
    run.log.Say(absl::StrCat("stopped early: evaluations without a better loss: ",
                             run.state.evals_since_best));
  }
  if (ending != Ending::kInterrupted) {
    RETURN_IF_ERROR(RestoreBest(run, start));
    // The model speaks while its last checkpoint is being written.
    output.SampleAfter();
  }
  RETURN_IF_ERROR(run.saver.Finish());
  return output.Finish(ending, run.state.step);
}

// From the model's weights to what the run leaves behind.
absl::StatusOr<Ending> TrainModel(const TrainOptions& options, const Prepared& prepared,
                                  const MemoryPlan& memory, Runtime& runtime, dist::World& world,
                                  OutputFolder& folder, StartupTimes& startup) {
  const Context& context = runtime.context();
  const RunStart& start = prepared.start;
  const Tensor copy = MemoryForCopy(context, memory, world);  // the first of the plan's memory
  const std::unique_ptr<Parking> parking = Parking::Create(runtime);
  nn::ForwardOptions forward = memory.forward;
  forward.parking = parking.get();
  const int64_t num_steps = NumSteps(options, *prepared.data->plan);
  Rehearsal rehearsal(context.device(), {prepared.config, options.model.compute_dtype, forward},
                      *prepared.data, {start.state.step, num_steps, world.rank(), world.size()});
  ASSIGN_OR_RETURN(const auto model, LoadModel(context, options, *prepared.data));
  startup.Done("weights");

  if (world.rank() == 0) RETURN_IF_ERROR(folder.Make());
  ASSIGN_OR_RETURN(const auto output,
                   RunOutput::Create(options, prepared, memory, world, context, *model));
  world.heartbeat().Report({"rehearse"});
  output->log().Say(
      rehearsal.Run(context, forward, options.reduction, &world.communicator(), model.get()));
  startup.Done("rehearsal");
  if (options.verify) {
    ASSIGN_OR_RETURN(const std::string proof,
                     VerifyLockstep(context, forward, options.reduction, *prepared.data,
                                    &world.communicator(), model.get()));
    output->log().Say(proof);
  }
  RETURN_IF_ERROR(output->SampleBefore());
  if (start.kind == RunStart::Kind::kResume) {
    RETURN_IF_ERROR(RestoreOnAllRanks(world, context, start.checkpoint, &model->parameters()));
    if (world.rank() == 0) RETURN_IF_ERROR(BringBest(options, start));
  }

  CheckpointSaver saver(
      world, context, model->parameters(),
      {CheckpointFolder(start), options.save_total_limit, JoinPath(start.folder, "metrics.jsonl"),
       copy, options.reduction.shares_update});
  StepProfiler profiler(options.profile_steps, num_steps, JoinPath(start.folder, "profile"),
                        world.rank());
  startup.Done("samples");
  Run run = {.options = options,
             .world = world,
             .context = context,
             .model = *model,
             .forward = forward,
             .data = *prepared.data,
             .log = output->log(),
             .num_steps = num_steps,
             .saver = saver,
             .profiler = profiler,
             .startup = startup,
             .state = StateAtStart(prepared),
             .on_evaluation = [&] { return output->Show("running"); }};
  ASSIGN_OR_RETURN(const Ending ending, TrainLoop(run));
  RETURN_IF_ERROR(EndRun(run, ending, start, *output));
  return ending;
}

}  // namespace

absl::StatusOr<int> RunRank(const TrainOptions& options, const dist::LaunchEnv& env) {
  StartupTimes startup(env.has_parent);
  if (!env.has_parent) dist::BlockStopSignals();  // before there are threads
  SetNumThreads(static_cast<int>(
      options.num_threads.value_or(std::max(1, NumCores() / env.local_world_size))));
  ASSIGN_OR_RETURN(const auto runtime, Runtime::Open(DeviceOf(options, env)));
  startup.Done("device");
  ASSIGN_OR_RETURN(const auto world, dist::JoinWorld(env, WorldOptionsFor(options, *runtime)));
  startup.Done("ranks");

  // What is trained on, and from where: the same on every rank, proven.
  world->heartbeat().Report({"load"});
  OutputFolder folder;  // rank 0's
  ASSIGN_OR_RETURN(const Prepared prepared, Prepare(
                                                options, [](auto...) { MarkProgress(); },
                                                [&](const RunIdentity& identity) {
                                                  return AgreeOnStart(*world, options, identity,
                                                                      folder);
                                                }));
  if (prepared.start.kind == RunStart::Kind::kFinished) {  // there is no parent, or it looked early
    if (world->rank() == 0) SayThatItIsFinished(prepared.start);
    world->Leave();
    return dist::kExitDone;
  }
  RETURN_IF_ERROR(world->Agree(FactsThatRanksShare(options, prepared)));
  startup.Done("data");

  ASSIGN_OR_RETURN(const MemoryPlan memory, PlanMemory(options, *prepared.data, *runtime, *world));
  RETURN_IF_ERROR(runtime->Reserve(memory.reserved(), memory.host));
  startup.Done("plan");

  ASSIGN_OR_RETURN(const Ending ending,
                   TrainModel(options, prepared, memory, *runtime, *world, folder, startup));
  const int exit_code = ExitCodeOf(ending, *world);
  world->Leave();
  return exit_code;
}

}  // namespace lockstep
