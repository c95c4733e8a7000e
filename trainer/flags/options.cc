#include "trainer/flags/options.h"

#include <gflags/gflags.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"
#include "nn/config.h"
#include "tensor/runtime.h"
#include "trainer/flags/adapter_flags.h"
#include "trainer/flags/flag_table.h"
#include "trainer/flags/flag_values.h"
#include "trainer/flags/parse_flags.h"
#include "trainer/flags/user_path.h"

// Numbers that a flag takes over unless it is given.
static const lockstep::TrainOptions& kDefaults = *new lockstep::TrainOptions;

DEFINE_double(num_train_epochs, kDefaults.num_train_epochs, "Passes over the documents.");
DEFINE_string(max_steps, "", "Optimizer steps, instead of epochs; repeats the data where needed.");
DEFINE_uint64(seed, kDefaults.seed, "Of the order of documents, dropout and initial weights.");
DEFINE_string(early_stopping_patience, "",
              "Stop after so many evaluations without a better loss; the best checkpoint is kept.");

DEFINE_double(learning_rate, kDefaults.optimizer.learning_rate, "Peak of the schedule.");
DEFINE_string(lr_scheduler_type, "cosine",
              "linear, cosine, constant, constant_with_warmup or cosine_with_min_lr.");
DEFINE_double(min_lr_rate, kDefaults.optimizer.min_lr_rate,
              "Of cosine_with_min_lr: the end, as a share of the peak.");
DEFINE_string(warmup_steps, "", "Steps of linear warm-up; beats the ratio.");
DEFINE_double(warmup_ratio, kDefaults.optimizer.warmup_ratio, "Warm-up as a share of all steps.");
DEFINE_double(weight_decay, kDefaults.optimizer.adamw.weight_decay,
              "AdamW's decoupled decay; not of norms and biases.");
DEFINE_double(adam_beta1, kDefaults.optimizer.adamw.beta1, "Decay of the first moment.");
DEFINE_double(adam_beta2, kDefaults.optimizer.adamw.beta2, "Decay of the second moment.");
DEFINE_double(adam_epsilon, kDefaults.optimizer.adamw.eps,
              "Added to the root of the second moment.");
DEFINE_double(max_grad_norm, kDefaults.optimizer.adamw.max_grad_norm,
              "Clip the gradient to this norm; 0: never.");

DEFINE_string(output_dir, "", "Where everything goes. Default: runs/RUN_NAME.");
DEFINE_string(run_name, "", "Default: TIME-MODEL-DATA.");
DEFINE_int64(logging_steps, kDefaults.logging_steps, "Steps between lines on the terminal.");
DEFINE_int64(eval_steps, kDefaults.eval_steps,
             "Steps between evaluations; 0: only before the first and after the last.");
DEFINE_int64(save_steps, kDefaults.save_steps, "Steps between checkpoints; 0: only at the end.");
DEFINE_int64(save_total_limit, kDefaults.save_total_limit, "Checkpoints that are kept; 0: all.");
DEFINE_string(
    resume_from_checkpoint, "auto",
    "auto goes on if the output folder holds this very run; none; or a checkpoint's folder.");
DEFINE_string(on_nonfinite, "stop",
              "When a loss or gradient is not finite: stop, or skip the step and go on.");

DEFINE_string(
    on_spike, "warn",
    "When the loss jumps far above that of the last 64 steps: warn, naming the documents, "
    "or stop.");
DEFINE_string(on_zero_loss, "warn",
              "When a step's loss or gradient is exactly 0, so that nothing is learned: warn or "
              "stop.");
DEFINE_string(profile_steps, "",
              "Steps of which to say where a GPU's time went, e.g. 3..5; a timeline lies in "
              "profile/ afterwards.");

DEFINE_string(device, "auto", "cuda, cpu, or auto: cuda where there is a GPU.");
DEFINE_string(dtype, "",
              "Compute type: bf16 (default) or fp32 on a GPU, fp32 on a CPU. Trained values, their "
              "gradients and moments are fp32 in any case.");
DEFINE_string(base_dtype, "",
              "How frozen weights are stored: fp32, bf16, or fp8: linear layers but the head in "
              "FP8, which is also how they multiply (on a GPU, Hopper): a third faster than bf16, "
              "no smaller. Default: as --dtype.");
DEFINE_string(
    gradient_checkpointing, "auto",
    "What backward computes again: none, cheap (the MLP's gated unit, which LoRA in bf16 never "
    "keeps), layer (whose inputs wait in host memory beside a GPU), or auto: the fastest that "
    "fits. All give the same bits.");

DEFINE_string(nproc_per_node, "", "Ranks on this machine. Default: all GPUs; 1 on a CPU.");
DEFINE_string(nnodes, "", "Machines. Default: 1.");
DEFINE_string(node_rank, "", "Number of this machine, from 0.");
DEFINE_string(master_addr, "", "Address of machine 0.");
DEFINE_string(master_port, "", "A free port there.");
DEFINE_string(gradient_sum, "",
              "exact: the same bits on any number of ranks; fp32: half the bytes; bf16: a quarter, "
              "coarser. Default: exact, fp32 for --train=full.");
DEFINE_double(bucket_cap_mb, kDefaults.reduction.bucket_cap_mb,
              "MiB of gradients of which a rank gets the sums at once.");
DEFINE_string(num_threads, "", "CPU threads of a rank; changes no bit. Default: cores / ranks.");
DEFINE_double(stall_timeout, kDefaults.stall_timeout_s,
              "Seconds without progress after which a run is ended.");
DEFINE_int64(max_restarts, kDefaults.max_restarts,
             "How often a run that lost a rank starts again by itself.");

DEFINE_bool(dry_run, false, "Print the plans of data, steps, buckets and memory; load no weights.");
DEFINE_bool(verify, false,
            "First run a step on one rank and on all: they must agree bit for bit. Then train.");

DECLARE_string(template_date);  // data_flags
DECLARE_bool(version);          // gflags has one

namespace lockstep {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The embedded example brings flags of its own; those that the user gives win.
absl::Status ReadExampleFlags() {
  gflags::CommandLineFlagInfo info;
  for (const char* name : {"model", "train_file"}) {
    if (!gflags::GetCommandLineFlagInfoOrDie(name).is_default) return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string path, EmbeddedExample("example.flags"));
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> flag =
        absl::StrSplit(line.substr(2), absl::MaxSplits('=', 1));
    const bool known = gflags::GetCommandLineFlagInfo(flag.first.c_str(), &info);
    if (!known) return UserError(path, absl::StrCat("there is no flag --", flag.first));
    if (info.is_default) gflags::SetCommandLineOption(flag.first.c_str(), flag.second.c_str());
  }
  return absl::OkStatus();
}

absl::Status ReadOptimizerFlags(TrainOptions* options) {
  OptimizerOptions& o = options->optimizer;
  // Far above it, the first update alone would leave fp32, and no loss would have shown it.
  RETURN_IF_ERROR(CheckRange("learning_rate", o.learning_rate = FLAGS_learning_rate, 0, 1e30));
  using nn::LrSchedulerType;
  ASSIGN_OR_RETURN(
      o.lr_scheduler_type,
      Choice<LrSchedulerType>("lr_scheduler_type", FLAGS_lr_scheduler_type,
                              {{"linear", LrSchedulerType::kLinear},
                               {"cosine", LrSchedulerType::kCosine},
                               {"constant", LrSchedulerType::kConstant},
                               {"constant_with_warmup", LrSchedulerType::kConstantWithWarmup},
                               {"cosine_with_min_lr", LrSchedulerType::kCosineWithMinLr}}));
  RETURN_IF_ERROR(CheckRange("min_lr_rate", o.min_lr_rate = FLAGS_min_lr_rate, 0, 1));
  if (o.min_lr_rate > 0 && o.lr_scheduler_type != LrSchedulerType::kCosineWithMinLr) {
    return UserError("--min_lr_rate",
                     absl::StrCat("--lr_scheduler_type=", FLAGS_lr_scheduler_type, " takes none"),
                     "--lr_scheduler_type=cosine_with_min_lr");
  }
  ASSIGN_OR_RETURN(o.warmup_steps, OptionalInteger("warmup_steps", FLAGS_warmup_steps));
  RETURN_IF_ERROR(CheckRange("warmup_steps", o.warmup_steps.value_or(0), 0, kInfinity));
  RETURN_IF_ERROR(CheckRange("warmup_ratio", o.warmup_ratio = FLAGS_warmup_ratio, 0, 1));
  RETURN_IF_ERROR(
      CheckRange("weight_decay", o.adamw.weight_decay = FLAGS_weight_decay, 0, kInfinity));
  RETURN_IF_ERROR(CheckRange("adam_beta1", o.adamw.beta1 = FLAGS_adam_beta1, 0, 0.9999999));
  RETURN_IF_ERROR(CheckRange("adam_beta2", o.adamw.beta2 = FLAGS_adam_beta2, 0, 0.9999999));
  // With 0, an element whose gradient is 0 would become 0 / 0: all of A, whose B is 0, in step one.
  RETURN_IF_ERROR(CheckRange("adam_epsilon", o.adamw.eps = FLAGS_adam_epsilon, 1e-20, 1));
  return CheckRange("max_grad_norm", o.adamw.max_grad_norm = FLAGS_max_grad_norm, 0, kInfinity);
}

absl::Status ReadLengthOfRunFlags(TrainOptions* options) {
  options->seed = options->model.seed = FLAGS_seed;
  options->num_train_epochs = FLAGS_num_train_epochs;
  RETURN_IF_ERROR(CheckRange("num_train_epochs", FLAGS_num_train_epochs, 1e-9, 1e9));
  ASSIGN_OR_RETURN(options->max_steps, OptionalInteger("max_steps", FLAGS_max_steps));
  RETURN_IF_ERROR(CheckRange("max_steps", options->max_steps.value_or(1), 1, kInfinity));
  ASSIGN_OR_RETURN(options->early_stopping_patience,
                   OptionalInteger("early_stopping_patience", FLAGS_early_stopping_patience));
  return CheckRange("early_stopping_patience", options->early_stopping_patience.value_or(1), 1,
                    kInfinity);
}

absl::Status ReadOutputFlags(TrainOptions* options) {
  for (const auto& [name, value, target] :
       {std::tuple{"logging_steps", FLAGS_logging_steps, &options->logging_steps},
        {"eval_steps", FLAGS_eval_steps, &options->eval_steps},
        {"save_steps", FLAGS_save_steps, &options->save_steps},
        {"save_total_limit", FLAGS_save_total_limit, &options->save_total_limit}}) {
    RETURN_IF_ERROR(CheckRange(name, static_cast<double>(value), 0, kInfinity));
    *target = value;
  }
  ASSIGN_OR_RETURN(options->on_nonfinite, Choice<OnNonFinite>("on_nonfinite", FLAGS_on_nonfinite,
                                                              {{"stop", OnNonFinite::kStop},
                                                               {"skip", OnNonFinite::kSkip}}));
  const std::vector<std::pair<std::string, OnOddLoss>> odd = {{"warn", OnOddLoss::kWarn},
                                                              {"stop", OnOddLoss::kStop}};
  ASSIGN_OR_RETURN(options->on_spike, Choice("on_spike", FLAGS_on_spike, odd));
  ASSIGN_OR_RETURN(options->on_zero_loss, Choice("on_zero_loss", FLAGS_on_zero_loss, odd));
  FLAGS_output_dir = UserPath(FLAGS_output_dir);
  if (FLAGS_resume_from_checkpoint != "auto" && FLAGS_resume_from_checkpoint != "none") {
    FLAGS_resume_from_checkpoint = UserPath(FLAGS_resume_from_checkpoint);
  }
  if (FLAGS_run_name.find('/') != std::string::npos || FLAGS_run_name == "." ||
      FLAGS_run_name == "..") {
    return UserError("--run_name",
                     absl::StrCat("want a folder's name without slashes, got ", FLAGS_run_name),
                     "--output_dir is a whole path");
  }
  options->output_dir = FLAGS_output_dir;
  options->run_name = FLAGS_run_name;
  options->resume_from_checkpoint = FLAGS_resume_from_checkpoint;
  return absl::OkStatus();
}

// A run that goes on keeps the date with which it began, as its run.flags say.
void KeepTemplateDate() {
  if (!FLAGS_template_date.empty()) return;
  const bool has_name =
      FLAGS_resume_from_checkpoint != "auto" && FLAGS_resume_from_checkpoint != "none";
  const std::string folder =
      has_name ? JoinPath(FLAGS_resume_from_checkpoint, "../..") : FLAGS_output_dir;
  if (folder.empty()) return;
  const absl::StatusOr<std::string> flags = ReadFile(JoinPath(folder, "run.flags"));
  if (!flags.ok()) return;  // a new run
  for (absl::string_view line : absl::StrSplit(*flags, '\n')) {
    if (absl::ConsumePrefix(&line, "--template_date=")) FLAGS_template_date = std::string(line);
  }
}

// What each device computes in.
absl::Status CheckTypes(const TrainOptions& options) {
  const bool on_gpu = options.device == "cuda";
  if (!on_gpu && options.model.compute_dtype != DType::kF32) {
    return UserError("--dtype", "want fp32 on a CPU, got bf16",
                     "--base_dtype=bf16 halves the memory of the frozen weights");
  }
  if (on_gpu && options.model.base_dtype != options.model.compute_dtype) {
    return UserError("--base_dtype", "want fp8 or the same as --dtype on a GPU",
                     "leave --base_dtype out");
  }
  if (on_gpu && options.model.fp8_linear && options.model.compute_dtype != DType::kBF16) {
    return UserError("--base_dtype=fp8", "want --dtype=bf16 on a GPU, got fp32",
                     "leave --dtype out");
  }
  // These are Load's errors, before documents are read. A plan for GPUs can be made without one.
  if (options.model.fp8_linear) {
    RETURN_IF_ERROR(nn::CheckFp8Training(options.model.full, options.model.lora));
  }
  if (on_gpu && options.model.fp8_linear && CudaDeviceCount() > 0) {
    RETURN_IF_ERROR(nn::CheckFp8Device({DeviceType::kCUDA, 0}));
  }
  return absl::OkStatus();
}

absl::Status ReadArithmeticFlags(TrainOptions* options) {
  ASSIGN_OR_RETURN(
      options->device,
      Choice<std::string>(
          "device", FLAGS_device,
          {{"auto", CudaDeviceCount() > 0 ? "cuda" : "cpu"}, {"cuda", "cuda"}, {"cpu", "cpu"}}));
  // Written out here and below, so that run.flags and the run's identity say what an empty default
  // meant.
  FLAGS_device = options->device;
  if (FLAGS_dtype.empty()) FLAGS_dtype = options->device == "cuda" ? "bf16" : "fp32";
  if (FLAGS_base_dtype.empty()) FLAGS_base_dtype = FLAGS_dtype;
  std::vector<std::pair<std::string, DType>> types = {{"fp32", DType::kF32},
                                                      {"bf16", DType::kBF16}};
  ASSIGN_OR_RETURN(options->model.compute_dtype, Choice("dtype", FLAGS_dtype, types));
  options->model.fp8_linear = FLAGS_base_dtype == "fp8";
  types.push_back({"fp8", options->model.compute_dtype});  // what is not in FP8
  ASSIGN_OR_RETURN(options->model.base_dtype, Choice("base_dtype", FLAGS_base_dtype, types));
  RETURN_IF_ERROR(CheckTypes(*options));
  using nn::Checkpointing;
  ASSIGN_OR_RETURN(options->gradient_checkpointing,
                   Choice<Checkpointing>("gradient_checkpointing", FLAGS_gradient_checkpointing,
                                         {{"auto", Checkpointing::kNone},
                                          {"none", Checkpointing::kNone},
                                          {"cheap", Checkpointing::kCheap},
                                          {"layer", Checkpointing::kLayer}}));
  options->auto_checkpointing = FLAGS_gradient_checkpointing == "auto";
  if (FLAGS_gradient_sum.empty()) FLAGS_gradient_sum = options->model.full ? "fp32" : "exact";
  ASSIGN_OR_RETURN(options->reduction.sum, Choice<GradientSum>("gradient_sum", FLAGS_gradient_sum,
                                                               {{"exact", GradientSum::kExact},
                                                                {"fp32", GradientSum::kFp32},
                                                                {"bf16", GradientSum::kBf16}}));
  options->model.sum_dtype = SumDtype(options->reduction.sum);
  // Few parameters are cheaper to compute than to share, and each rank proves the others' updates.
  options->reduction.shares_update = options->model.full;
  ASSIGN_OR_RETURN(options->profile_steps, ParseStepRange("profile_steps", FLAGS_profile_steps));
  if (options->profile_steps.last > 0 && options->device != "cuda") {
    return UserError("--profile_steps", "want a GPU: kernels and their times are asked of it",
                     "on a CPU, perf record shows where time goes");
  }
  return absl::OkStatus();
}

absl::Status ReadLaunchFlags(TrainOptions* options) {
  const auto read = [](const char* name, const std::string& value, double low, double high,
                       std::optional<int>* out) -> absl::Status {
    ASSIGN_OR_RETURN(const std::optional<int64_t> number, OptionalInteger(name, value));
    if (!number) return absl::OkStatus();
    RETURN_IF_ERROR(CheckRange(name, static_cast<double>(*number), low, high));
    *out = static_cast<int>(*number);
    return absl::OkStatus();
  };
  dist::LaunchFlags& launch = options->launch;
  RETURN_IF_ERROR(read("nproc_per_node", FLAGS_nproc_per_node, 1, 1024, &launch.nproc_per_node));
  RETURN_IF_ERROR(read("nnodes", FLAGS_nnodes, 1, 65536, &launch.nnodes));
  RETURN_IF_ERROR(read("node_rank", FLAGS_node_rank, 0, 65535, &launch.node_rank));
  RETURN_IF_ERROR(read("master_port", FLAGS_master_port, 1, 65535, &launch.master_port));
  launch.master_addr = FLAGS_master_addr;
  if (options->device == "cuda") launch.default_nproc_per_node = std::max(1, CudaDeviceCount());
  ASSIGN_OR_RETURN(options->num_threads, OptionalInteger("num_threads", FLAGS_num_threads));
  RETURN_IF_ERROR(CheckRange("num_threads", options->num_threads.value_or(1), 1, 4096));
  RETURN_IF_ERROR(CheckRange("bucket_cap_mb", FLAGS_bucket_cap_mb, 1e-6, 1e6));
  RETURN_IF_ERROR(CheckRange("stall_timeout", FLAGS_stall_timeout, 1, 1e6));
  RETURN_IF_ERROR(CheckRange("max_restarts", FLAGS_max_restarts, 0, 1e6));
  options->reduction.bucket_cap_mb = FLAGS_bucket_cap_mb;
  options->stall_timeout_s = FLAGS_stall_timeout;
  options->max_restarts = FLAGS_max_restarts;
  const char* attempt = std::getenv("LOCKSTEP_RESTART_COUNT");  // dist/supervisor.h
  options->restarted = attempt != nullptr && absl::string_view(attempt) != "0";
  return absl::OkStatus();
}

}  // namespace

absl::Status ParseTrainFlags(int argc, char** argv) {
  ASSIGN_OR_RETURN(const std::vector<std::string> rest, ParseFlags(argc, argv, ForeignFlags()));
  return WantNoArguments(rest);
}

bool VersionRequested() { return FLAGS_version; }

absl::StatusOr<TrainOptions> ReadTrainFlags() {
  TrainOptions options;
  options.dry_run = FLAGS_dry_run;
  options.verify = FLAGS_verify;
  RETURN_IF_ERROR(ReadExampleFlags());
  RETURN_IF_ERROR(ReadAdapterFlags(&options.model));
  RETURN_IF_ERROR(ReadOptimizerFlags(&options));
  RETURN_IF_ERROR(ReadLengthOfRunFlags(&options));
  RETURN_IF_ERROR(ReadOutputFlags(&options));
  RETURN_IF_ERROR(ReadArithmeticFlags(&options));
  RETURN_IF_ERROR(ReadLaunchFlags(&options));
  KeepTemplateDate();
  ASSIGN_OR_RETURN(options.data, ReadDataFlags());
  options.model.directory = options.data.model;
  RETURN_IF_ERROR(CheckAgainstAdapter(options.model));
  if (options.verify && !options.in_lockstep()) {
    return UserError("--verify", "sums in floating point depend on the number of ranks",
                     "--gradient_sum=exact");
  }
  if (options.early_stopping_patience && options.data.validation_files.empty() &&
      options.data.validation_split == 0) {
    return UserError("--early_stopping_patience", "there are no documents to evaluate on",
                     "--validation_split=0.05 holds some out, --validation_file names others");
  }
  const std::set<std::string> idle = IdleAdapterFlags(options.model);
  std::set<std::string> without_effect = idle;
  if (!options.early_stopping_patience) without_effect.insert("eval_steps");
  if (options.max_steps) without_effect.insert("num_train_epochs");
  if (options.optimizer.warmup_steps) without_effect.insert("warmup_ratio");
  options.identity = ResultFlags(without_effect);
  options.run_flags = RunFlags(idle);
  return options;
}

}  // namespace lockstep
