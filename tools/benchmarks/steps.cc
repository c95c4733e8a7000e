#include "tools/benchmarks/steps.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/stopwatch.h"
#include "nn/model.h"
#include "tensor/kernels/gemm.h"
#include "tensor/parking.h"
#include "tensor/runtime.h"
#include "tools/benchmarks/compare_ceiling.h"
#include "tools/benchmarks/kernel_table.h"
#include "tools/benchmarks/shapes.h"
#include "tools/benchmarks/step.h"

namespace lockstep {
namespace {

constexpr int kWatchedSteps = 3;

// The rate of a large matrix product, which no step can exceed: operations a second.
double MeasureCeiling(const Context& context, DType dtype) {
  const bool cuda = context.stream.device.type == DeviceType::kCUDA;
  const int64_t size = cuda ? 8192 : 2048;
  const int repeat = cuda ? 20 : 1;
  std::vector<Tensor> matrices;
  for (int i = 0; i < 3; ++i) {
    matrices.push_back(Tensor::Empty(*context.allocator, dtype, {size, size}));
    FillRandom(context, matrices[i]);
  }
  double best = 1e30;
  for (int round = 0; round < 5; ++round) {
    Synchronize(context.stream);
    const Stopwatch watch;
    for (int i = 0; i < repeat; ++i) {
      kernels::Gemm(context.stream, matrices[0], matrices[1], matrices[2].Mutable("bench"));
    }
    Synchronize(context.stream);
    best = std::min(best, watch.Milliseconds() / repeat);
  }
  const auto edge = static_cast<double>(size);
  return 2.0 * edge * edge * edge / (1e-3 * best);
}

double HostPeakGib() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / (1 << 20);
}

struct Times {
  double mean = 0;            // of steps that are queued one behind the other
  std::vector<double> alone;  // of single steps, each awaited; sorted
  double queued = 0;          // the host's part of a step, at least
};
Times Time(const Context& context, const StepsOptions& options, BenchStep* step) {
  for (int i = 0; i < options.warmup; ++i) step->Run();
  Synchronize(context.stream);
  Times times;
  times.queued = 1e30;
  const Stopwatch all;
  for (int i = 0; i < options.steps; ++i) {
    const Stopwatch queueing;
    step->Run();
    times.queued = std::min(times.queued, queueing.Milliseconds());
  }
  Synchronize(context.stream);
  times.mean = all.Milliseconds() / options.steps;
  for (int i = 0; i < options.steps; ++i) {
    const Stopwatch watch;
    step->Run();
    Synchronize(context.stream);
    times.alone.push_back(watch.Milliseconds());
  }
  std::sort(times.alone.begin(), times.alone.end());
  return times;
}

absl::Status Measure(const Context& context, const StepsOptions& options, Parking* parking,
                     nn::Model* model, const PackShape& pack) {
  context.allocator->ResetPeak();
  BenchStep step(context, model, pack.documents, pack.length,
                 {.checkpointing = options.checkpointing,
                  .parking = parking,
                  .score_bytes = options.score_bytes,
                  .keep_attention = options.keep_attention && pack.length >= nn::kKeepAttentionFrom,
                  .lora_dropout = options.lora_dropout});
  const Times times = Time(context, options, &step);
  absl::PrintF(
      "%s %dx%d r=%d dropout=%g %s %s: %.0f tokens/s, %.1f ms a step (alone %.1f, %.1f to %.1f; "
      "queued in %.1f), peak %.2f GiB (of the host %.2f), loss %.3f\n",
      options.name, pack.documents, pack.length, options.lora_r, options.lora_dropout,
      TypeOf(options), options.checkpointing_name,
      1e3 * static_cast<double>(step.tokens()) / times.mean, times.mean,
      times.alone[times.alone.size() / 2], times.alone.front(), times.alone.back(), times.queued,
      static_cast<double>(context.allocator->peak_bytes()) / (1 << 30), HostPeakGib(), step.Loss());
  const double flops =
      StepFlops(model->config(), model->parameters().num_trainable(), pack.documents, pack.length);
  const double rate = flops / (1e-3 * times.mean), ceiling = MeasureCeiling(context, options.dtype);
  absl::PrintF("  %.3f TFLOP/s, %.0f %% of a large %s product's %.3f\n", 1e-12 * rate,
               100 * rate / ceiling, NameOf(options.dtype), 1e-12 * ceiling);
  if (options.repeat) {
    absl::PrintF("  gradient of one pack, twice: %s\n",
                 step.HashOfGradient() == step.HashOfGradient() ? "equal bits" : "DIFFERENT BITS");
  }
  if (options.ceiling > 0) {
    CompareWithCeiling(context, model->decoder(),
                       {options.steps, options.ceiling, options.score_bytes}, &step);
  }
  if (options.top > 0) {
    step.Run();
    RETURN_IF_ERROR(PrintKernelTable(context, kWatchedSteps, options.top, [&] {
      for (int i = 0; i < kWatchedSteps; ++i) step.Run();
      return absl::OkStatus();
    }));
  }
  std::fflush(stdout);
  return absl::OkStatus();
}

}  // namespace

nn::ModelOptions ModelOf(const StepsOptions& options) {
  nn::ModelOptions model = LoraOptions(options.lora_r, options.dtype);
  model.fp8_linear = options.fp8_linear;
  return model;
}

const char* TypeOf(const StepsOptions& options) {
  return options.fp8_linear ? "fp8" : NameOf(options.dtype);
}

absl::StatusOr<PackShape> ParsePack(const std::string& pack) {
  const std::vector<std::string> parts = absl::StrSplit(pack, 'x');
  PackShape shape;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &shape.documents) ||
      !absl::SimpleAtoi(parts[1], &shape.length) || shape.documents < 1 || shape.length < 2) {
    return UserError("--packs", absl::StrCat("want documents x tokens of each, got \"", pack, "\""),
                     "for example 2x4096,1x4096");
  }
  return shape;
}

absl::Status BenchSteps(const StepsOptions& options) {
  const Stopwatch watch;
  std::vector<PackShape> packs;
  for (const std::string& pack : options.packs) {
    ASSIGN_OR_RETURN(packs.emplace_back(), ParsePack(pack));
  }
  ASSIGN_OR_RETURN(const auto runtime, Runtime::Open(options.device));
  ASSIGN_OR_RETURN(const auto model,
                   RandomModel(runtime->context(), options.config_json, ModelOf(options)));
  Synchronize(runtime->context().stream);
  absl::PrintF("%s; model ready after %.1f s\n", runtime->Describe(), watch.Seconds());
  std::fflush(stdout);
  const std::unique_ptr<Parking> parking = Parking::Create(*runtime);
  for (const PackShape& pack : packs) {
    RETURN_IF_ERROR(Measure(runtime->context(), options, parking.get(), model.get(), pack));
  }
  return absl::OkStatus();
}

}  // namespace lockstep
