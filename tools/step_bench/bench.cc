// Measures a training step of LoRA on random weights and tokens: tokens a second, memory, and where
// the time goes on the device.
#include <gflags/gflags.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "nn/model.h"
#include "tensor/runtime.h"
#include "tools/step_bench/activity.h"
#include "tools/step_bench/shapes.h"
#include "tools/step_bench/step.h"
#include "trainer/command_line.h"

DEFINE_string(device, "cuda", "cuda or cpu");
DEFINE_string(shape, "8b", "8b, 1b or 135m");
DEFINE_string(packs, "2x4096", "what to run, each as documents x tokens of each: 2x4096,1x4096");
DEFINE_int32(steps, 8, "measured steps");
DEFINE_int32(warmup, 2, "steps before them");
DEFINE_int32(lora_r, 16, "rank of LoRA, on all linear layers");
DEFINE_string(dtype, "", "f32 or bf16, of computation and frozen weights; bf16 on cuda");
DEFINE_string(gradient_checkpointing, "none", "none, cheap or layer");
DEFINE_int32(top, 0, "kernels to list, of one more step; 0: no table");
DEFINE_bool(repeat, true, "also compute the gradient of one pack twice and compare the bits");

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;

double MillisecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

absl::StatusOr<nn::Checkpointing> CheckpointingFlag() {
  if (FLAGS_gradient_checkpointing == "none") return nn::Checkpointing::kNone;
  if (FLAGS_gradient_checkpointing == "cheap") return nn::Checkpointing::kCheap;
  if (FLAGS_gradient_checkpointing == "layer") return nn::Checkpointing::kLayer;
  return UserError("--gradient_checkpointing", "want none, cheap or layer");
}

// The kind of work that a kernel does, from its name.
const char* KindOf(const std::string& name) {
  const auto has = [&](const char* part) { return absl::StrContains(name, part); };
  if (has("cudnn") || has("sdpa") || has("fmha") || has("flash") || has("Attention")) {
    return "attention";
  }
  if (has("gemm") || has("nvjet") || has("cutlass") || has("splitK") || has("cublas")) {
    return "gemm";
  }
  if (absl::StartsWith(name, "copy of") || absl::StartsWith(name, "fill of")) return "copy, fill";
  return "pointwise";
}

// Shares of one step: they add up to the time from its first kernel's start to its last one's end.
void PrintTable(const std::vector<Activity>& activities) {
  if (activities.empty()) return;
  std::map<std::string, double> kinds;
  std::map<std::string, std::pair<int, double>> kernels;
  double busy = 0, last = activities[0].start_us;
  for (const Activity& activity : activities) {
    const double us = activity.end_us - activity.start_us;
    busy += us;
    kinds[KindOf(activity.name)] += us;
    last = std::max(last, activity.end_us);
    auto& kernel = kernels[activity.name];
    ++kernel.first;
    kernel.second += us;
  }
  const double span = last - activities[0].start_us;
  kinds["idle"] = span - busy;
  for (const auto& [kind, us] : kinds) {
    absl::PrintF("  %-11s %9.3f ms %5.1f %%\n", kind, us * 1e-3, 100 * us / span);
  }
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [name, kernel] : kernels) order.push_back({kernel.second, name});
  std::sort(order.rbegin(), order.rend());
  order.resize(std::min<size_t>(order.size(), FLAGS_top));
  for (const auto& [us, name] : order) {
    const int count = kernels[name].first;
    absl::PrintF("  %9.3f ms  %5d × %9.1f µs  %s\n", us * 1e-3, count, us / count, name);
  }
}

absl::Status Measure(Runtime& runtime, nn::Model* model, const std::string& pack) {
  const std::vector<std::string> parts = absl::StrSplit(pack, 'x');
  int64_t documents = 0, length = 0;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &documents) ||
      !absl::SimpleAtoi(parts[1], &length) || documents < 1 || length < 2) {
    return UserError("--packs", absl::StrCat("want 2x4096, got \"", pack, "\""));
  }
  const Context& context = runtime.context();
  ASSIGN_OR_RETURN(const nn::Checkpointing checkpointing, CheckpointingFlag());
  context.allocator->ResetPeak();
  BenchStep step(context, model, documents, length, checkpointing);
  for (int i = 0; i < FLAGS_warmup; ++i) step.Run();
  Synchronize(context.stream);
  std::vector<double> times, queued;
  const Clock::time_point begin = Clock::now();
  for (int i = 0; i < FLAGS_steps; ++i) {
    const Clock::time_point start = Clock::now();
    step.Run();
    queued.push_back(MillisecondsSince(start));
  }
  Synchronize(context.stream);
  const double mean = MillisecondsSince(begin) / FLAGS_steps;
  for (int i = 0; i < FLAGS_steps; ++i) {  // again one by one, for the spread
    const Clock::time_point start = Clock::now();
    step.Run();
    Synchronize(context.stream);
    times.push_back(MillisecondsSince(start));
  }
  std::sort(times.begin(), times.end());
  std::sort(queued.begin(), queued.end());
  absl::PrintF(
      "%s %s r=%d %s: %.0f tokens/s, %.1f ms a step (alone %.1f, %.1f to %.1f; queued in %.1f), "
      "peak %.2f GiB, loss %.3f\n",
      FLAGS_shape, pack, FLAGS_lora_r, FLAGS_gradient_checkpointing,
      1e3 * static_cast<double>(step.tokens()) / mean, mean, times[times.size() / 2], times.front(),
      times.back(), queued.front(),
      static_cast<double>(context.allocator->peak_bytes()) / (1 << 30), step.Loss());
  if (FLAGS_repeat) {
    absl::PrintF("  gradient of one pack, twice: %s\n",
                 step.HashOfGradient() == step.HashOfGradient() ? "equal bits" : "DIFFERENT BITS");
  }
  if (FLAGS_top > 0) {
    step.Run();
    Synchronize(context.stream);
    StartWatching();
    step.Run();
    Synchronize(context.stream);
    PrintTable(StopWatching());
  }
  std::fflush(stdout);
  return absl::OkStatus();
}

absl::Status Run(const std::vector<std::string>& arguments) {
  const Clock::time_point start = Clock::now();
  if (FLAGS_device != "cuda" && FLAGS_device != "cpu") {
    return UserError("--device", "want cuda or cpu");
  }
  const bool cuda = FLAGS_device == "cuda";
  ASSIGN_OR_RETURN(const auto runtime,
                   Runtime::Open(Device{cuda ? DeviceType::kCUDA : DeviceType::kCPU}));
  nn::ModelOptions options;
  options.lora = nn::LoraConfig{};
  options.lora->r = FLAGS_lora_r;
  options.lora->alpha = 2.0 * FLAGS_lora_r;
  options.lora->init = nn::LoraInit::kFalse;  // products with zeros would draw less power
  options.num_slots = 1;
  const bool half = FLAGS_dtype.empty() ? cuda : FLAGS_dtype == "bf16";
  options.compute_dtype = options.base_dtype = half ? DType::kBF16 : DType::kF32;
  ASSIGN_OR_RETURN(const auto model, RandomModel(runtime->context(), FLAGS_shape, options));
  Synchronize(runtime->context().stream);
  absl::PrintF("%s; model ready after %.1f s\n", runtime->Describe(),
               MillisecondsSince(start) * 1e-3);
  std::fflush(stdout);
  const std::vector<std::string> packs = absl::StrSplit(FLAGS_packs, ',', absl::SkipEmpty());
  for (const std::string& pack : packs) {
    RETURN_IF_ERROR(Measure(*runtime, model.get(), pack));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  return lockstep::ToolMain(
      argc, argv,
      "Measures a training step of LoRA.\n  step_bench --shape=8b --packs=2x4096,1x4096",
      lockstep::Run);
}
