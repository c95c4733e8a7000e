// How fast a training step is, and the kernels alone; reference/cli.md, "Tools".
#include <gflags/gflags.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status.h"
#include "benchmark/benchmark.h"
#include "data/loader.h"
#include "dist/bucket_plan.h"
#include "dist/communicator.h"
#include "nn/host_tensor.h"
#include "nn/model.h"
#include "nn/optim/adamw.h"
#include "tensor/kernels/gemm.h"
#include "tensor/runtime.h"
#include "tools/bench_shapes.h"
#include "tools/compute_flags.h"
#include "trainer/command_line.h"
#include "trainer/data_parallel.h"
#include "trainer/step_gradient.h"

DEFINE_string(shape, "135m", "Whose config.json: 135m, 1b or 8b; weights are random.");
DEFINE_string(model, "", "Instead of --shape: a folder with config.json; weights are random.");
DEFINE_int64(tokens, 1024, "Tokens of a step.");
DEFINE_int64(documents, 1, "Documents that these tokens are, of equal length; all is supervised.");
DEFINE_int64(steps, 5, "Measured steps, behind one that is not.");
DEFINE_int64(lora_r, 16, "Rank of the adapter, on all linear layers.");
DEFINE_string(gradient_checkpointing, "none", "none, cheap or layer.");
DEFINE_string(kernels, "", "Instead of steps: benchmarks of kernels whose name matches this.");

namespace lockstep {
namespace {

constexpr char kUsage[] =
    "Measures a whole LoRA training step: forward, backward, exact sums, clipping and AdamW.\n\n"
    "  bench --shape=135m --tokens=1024 --num_threads=2\n"
    "  bench --kernels=gemm     kernels alone, by regular expression; \".\" is all";

using Clock = std::chrono::steady_clock;
double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

absl::Status CheckFlags() {
  if (FLAGS_tokens < 2 * FLAGS_documents || FLAGS_documents < 1) {
    return UserError("--tokens", "want at least two for each of --documents");
  }
  if (FLAGS_tokens % FLAGS_documents != 0) {
    return UserError("--documents", "want a divisor of --tokens");
  }
  if (FLAGS_steps < 1) return UserError("--steps", "want at least 1");
  if (FLAGS_lora_r < 1) return UserError("--lora_r", "want at least 1");
  return absl::OkStatus();
}

absl::StatusOr<nn::Checkpointing> CheckpointingFlag() {
  if (FLAGS_gradient_checkpointing == "none") return nn::Checkpointing::kNone;
  if (FLAGS_gradient_checkpointing == "cheap") return nn::Checkpointing::kCheap;
  if (FLAGS_gradient_checkpointing == "layer") return nn::Checkpointing::kLayer;
  return UserError("--gradient_checkpointing", "want one of none, cheap, layer");
}

absl::StatusOr<std::unique_ptr<nn::Model>> MakeModel(const Context& context, DType dtype) {
  std::string folder = UserPath(FLAGS_model);
  absl::Cleanup remove = [&] {
    std::error_code ignored;
    if (FLAGS_model.empty()) std::filesystem::remove_all(folder, ignored);
  };
  if (FLAGS_model.empty()) {
    ASSIGN_OR_RETURN(const std::string config, ShapeConfig(FLAGS_shape));
    folder = (std::filesystem::temp_directory_path() / "bench-XXXXXX").string();
    if (mkdtemp(folder.data()) == nullptr) return SystemError(folder, "cannot make", errno);
    RETURN_IF_ERROR(WriteFileAtomically(JoinPath(folder, "config.json"), config));
  }
  nn::ModelOptions options;
  options.directory = folder;
  options.random_init = true;
  options.compute_dtype = options.base_dtype = dtype;
  options.num_slots = dist::kNumStepSlots;
  options.lora = nn::LoraConfig();
  options.lora->r = FLAGS_lora_r;
  options.lora->alpha = 2.0 * static_cast<double>(FLAGS_lora_r);
  return nn::Model::Load(context, options);
}

// Documents of arbitrary tokens.
data::RankStep MakeStep(int64_t vocab_size) {
  data::RankStep step;
  step.num_packs = 1;
  data::Pack pack;
  const int64_t length = FLAGS_tokens / FLAGS_documents;
  for (int64_t i = 0; i < FLAGS_tokens; ++i) {
    const int64_t position = i % length;
    if (position == 0) {
      pack.cu_seqlens.push_back(static_cast<int32_t>(i));
      pack.documents.push_back(i / length);
    }
    pack.input_ids.push_back(static_cast<int32_t>(7919 * i % vocab_size));
    pack.positions.push_back(static_cast<int32_t>(position));
    pack.token_keys.push_back(i);
    if (position + 1 < length) {
      pack.target_rows.push_back(static_cast<int32_t>(i));
      pack.targets.push_back(static_cast<int32_t>(7919 * (i + 1) % vocab_size));
    }
  }
  pack.cu_seqlens.push_back(static_cast<int32_t>(FLAGS_tokens));
  step.num_tokens = pack.num_tokens();
  step.num_supervised = pack.num_supervised();
  step.packs.push_back(std::move(pack));
  return step;
}

// The rate of a large matrix product, the ceiling of what a step can reach: operations a second.
double MeasureCeiling(const Context& context, DType dtype) {
  constexpr int64_t kSize = 2048;
  std::vector<Tensor> matrices;
  for (int i = 0; i < 3; ++i) {
    matrices.push_back(Tensor::Empty(*context.allocator, dtype, {kSize, kSize}));
    std::vector<char> zeros(matrices[i].view().num_bytes());
    CopyToDevice(context.stream, zeros.data(), matrices[i].Mutable("bench"));
  }
  double best = 1e30;
  for (int i = 0; i < 5; ++i) {
    const Clock::time_point start = Clock::now();
    kernels::Gemm(context.stream, matrices[0], matrices[1], matrices[2].Mutable("bench"));
    Synchronize(context.stream);
    best = std::min(best, SecondsSince(start));
  }
  return 2.0 * kSize * kSize * kSize / best;
}

double PeakGib() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / (1 << 20);
}

absl::Status BenchSteps(const ComputeOptions& compute) {
  ASSIGN_OR_RETURN(const auto runtime, Runtime::Open(compute.device));
  const Context& context = runtime->context();
  nn::ForwardOptions forward;
  ASSIGN_OR_RETURN(forward.checkpointing, CheckpointingFlag());
  ASSIGN_OR_RETURN(const std::unique_ptr<nn::Model> model, MakeModel(context, compute.dtype));
  nn::FlatParameters& parameters = model->parameters();
  const auto communicator = dist::MakeSoloCommunicator();
  DataParallel parallel(context, &parameters, communicator.get(), /*bucket_cap_mb=*/25);
  nn::AdamW optimizer(context, parameters, {}, dist::kOverflowSlot);
  const data::RankStep work = MakeStep(model->config().vocab_size);

  std::vector<double> seconds;
  for (int64_t step = 0; step <= FLAGS_steps; ++step) {
    const Clock::time_point start = Clock::now();
    StepGradient(context, model->decoder(), work, forward, /*stop_requested=*/false, &parallel,
                 [](const char*, int64_t) {});
    optimizer.Step(context, parameters, step + 1, /*learning_rate=*/1e-4);
    nn::ToHost<double>(context, optimizer.grad_norm());  // waits for the step
    if (step > 0) seconds.push_back(SecondsSince(start));
  }
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2];
  const double flops = StepFlops(model->config(), parameters.num_trainable(), FLAGS_documents,
                                 FLAGS_tokens / FLAGS_documents);
  const double peak = PeakGib(), ceiling = MeasureCeiling(context, compute.dtype);
  absl::PrintF("%s\n%d tokens in %d documents, LoRA rank %d, %s, %s\n", runtime->Describe(),
               FLAGS_tokens, FLAGS_documents, FLAGS_lora_r, NameOf(compute.dtype),
               FLAGS_model.empty() ? FLAGS_shape : FLAGS_model);
  absl::PrintF("%-22s %.1f (fastest %.1f, slowest %.1f of %d)\n", "ms per step", 1e3 * median,
               1e3 * seconds.front(), 1e3 * seconds.back(), seconds.size());
  absl::PrintF("%-22s %.0f\n", "tokens/s", FLAGS_tokens / median);
  absl::PrintF("%-22s %.3f, %.0f %% of a large product's %.3f\n", "TFLOP/s", 1e-12 * flops / median,
               100 * flops / median / ceiling, 1e-12 * ceiling);
  absl::PrintF("%-22s %.2f GiB\n", "peak host memory", peak);
  return absl::OkStatus();
}

absl::Status BenchKernels() {
  char name[] = "bench";
  char* argv[] = {name, nullptr};
  int argc = 1;
  benchmark::Initialize(&argc, argv);
  if (benchmark::RunSpecifiedBenchmarks(FLAGS_kernels) > 0) return absl::OkStatus();
  return UserError("--kernels", absl::StrCat("no benchmark matches \"", FLAGS_kernels, "\""),
                   "--kernels=. runs all of them");
}

absl::Status Run(const std::vector<std::string>& arguments) {
  if (!arguments.empty()) {
    return UserError("arguments", absl::StrCat("want none, got ", arguments[0]));
  }
  RETURN_IF_ERROR(CheckFlags());
  ASSIGN_OR_RETURN(const ComputeOptions compute, ReadComputeFlags());
  return FLAGS_kernels.empty() ? BenchSteps(compute) : BenchKernels();
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  return lockstep::ToolMain(argc, argv, lockstep::kUsage, lockstep::Run);
}
