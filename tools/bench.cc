// How fast training steps are, and their parts alone; docs/tools.md.
#include <gflags/gflags.h>

#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"
#include "benchmark/benchmark.h"
#include "tools/benchmarks/all_reduce.h"
#include "tools/benchmarks/gemm_search.h"
#include "tools/benchmarks/generate.h"
#include "tools/benchmarks/load.h"
#include "tools/benchmarks/plan.h"
#include "tools/benchmarks/scaling.h"
#include "tools/benchmarks/shapes.h"
#include "tools/benchmarks/steps.h"
#include "tools/benchmarks/tokenize.h"
#include "tools/compute_flags.h"
#include "trainer/flags/data_flags.h"
#include "trainer/flags/flag_values.h"
#include "trainer/flags/model_folder.h"
#include "trainer/flags/program.h"

DECLARE_string(model);  // data_flags

DEFINE_string(shape, "",
              "Whose config.json, with random weights: 8b, 1b, 135m or tiny. Default: that of "
              "--model, else 8b on a GPU and 135m on a CPU.");
DEFINE_string(packs, "",
              "Packs that are a step, each as documents x tokens of each: 2x4096,1x4096. Default: "
              "2x4096 on a GPU, 1x1024 on a CPU.");
DEFINE_int32(steps, 8, "Measured steps.");
DEFINE_int32(warmup, 2, "Steps before them.");
DEFINE_int32(lora_r, 16, "Rank of the adapter, on all linear layers.");
DEFINE_double(lora_dropout, 0, "Share of the adapter's inputs that is dropped.");
DEFINE_string(base_dtype, "",
              "For steps, scaling and generate; fp8: linear layers in FP8, as train's. Default: as "
              "the rest.");
DEFINE_string(gradient_checkpointing, "none",
              "What backward computes again: none, cheap or layer, as train's.");
DEFINE_double(
    score_gib, 0,
    "Attention's backward of long documents: GiB of scores' gradients at once, where that "
    "is more than usual; the trainer chooses by what is free.");
DEFINE_bool(keep_attention, true,
            "With layer and long documents attention's outputs wait in host memory and are not "
            "computed again.");
DEFINE_int32(top, 0, "Kernels to list, of three more steps on a GPU; 0: no table.");
DEFINE_int32(ceiling, 0,
             "Rounds in which the step takes turns with its wide products and attention alone, "
             "which it cannot be faster than; 0: none.");
DEFINE_bool(repeat, true, "Also compute the gradient of one pack twice and compare the bits.");

DEFINE_string(kernels, "",
              "Instead of steps: benchmarks of kernels whose name matches this. gemm_search: the "
              "products, all of whose name matches; \"\": every one.");

DEFINE_int32(nproc_per_node, 0, "all_reduce, scaling: ranks; 0: all GPUs.");
DEFINE_int32(max_channels, 0, "all_reduce: thread blocks of NCCL; 0: the trainer's.");
DEFINE_int64(numel, 42 << 20,
             "all_reduce: gradients; rank 16 on all linear layers of an 8B model has 42 M.");
DEFINE_int32(products, 24,
             "all_reduce: products of [8192, 4096] by [4096, 4096] in bf16, beside the sums.");
DEFINE_int32(rounds, 7, "all_reduce, scaling, tokenize, gemm_search: measurements of each figure.");

DEFINE_string(bucket_cap_mb, "5,25,100,400", "scaling: bucket sizes to compare, in MiB.");
DEFINE_string(gradient_sum, "exact,fp32,bf16", "scaling: ways to add gradients, to compare.");
DEFINE_int32(packs_per_rank, 1, "scaling: packs of a step on each rank.");
DEFINE_bool(full, false, "scaling: train every weight, not an adapter.");

DEFINE_int64(tokens, 8192, "gemm_search: rows of the layers' products.");
DEFINE_int32(candidates, 30, "gemm_search: kernels of each product that get a short row.");
DEFINE_string(only, "", "gemm_search: instead of those, these, as it prints them: 24.7.5.0,...");
DEFINE_double(row_ms, 300, "gemm_search: length of the long rows of the best few.");

DEFINE_int64(documents, 1000000, "plan: documents of made-up lengths whose planning is timed.");

namespace lockstep {
namespace {

absl::StatusOr<StepsOptions> ReadStepsFlags() {
  ASSIGN_OR_RETURN(const ComputeOptions compute, ReadComputeFlags());
  const bool cuda = compute.device.type == DeviceType::kCUDA;
  StepsOptions options;
  options.device = compute.device;
  options.dtype = compute.dtype;
  ASSIGN_OR_RETURN(options.fp8_linear,
                   Choice<bool>("base_dtype", FLAGS_base_dtype, {{"", false}, {"fp8", true}}));
  options.name = FLAGS_shape.empty() ? (cuda ? "8b" : "135m") : FLAGS_shape;
  if (!FLAGS_model.empty()) {
    if (!FLAGS_shape.empty()) return UserError("--shape", "--model is given too", "give one");
    ASSIGN_OR_RETURN(const std::string folder, FindModelFolder(FLAGS_model));
    ASSIGN_OR_RETURN(options.config_json, ReadFile(JoinPath(folder, "config.json")));
    options.name = FLAGS_model;
  } else {
    ASSIGN_OR_RETURN(options.config_json, ShapeConfig(options.name));
  }
  const std::string packs = FLAGS_packs.empty() ? (cuda ? "2x4096" : "1x1024") : FLAGS_packs;
  options.packs = absl::StrSplit(packs, ',', absl::SkipEmpty());
  RETURN_IF_ERROR(CheckRange("steps", FLAGS_steps, 1, 1e6));
  RETURN_IF_ERROR(CheckRange("warmup", FLAGS_warmup, 0, 1e6));
  RETURN_IF_ERROR(CheckRange("lora_r", FLAGS_lora_r, 1, 1 << 16));
  RETURN_IF_ERROR(CheckRange("lora_dropout", FLAGS_lora_dropout, 0, 0.99));
  RETURN_IF_ERROR(CheckRange("score_gib", FLAGS_score_gib, 0, 1e6));
  RETURN_IF_ERROR(CheckRange("top", FLAGS_top, 0, 1e6));
  RETURN_IF_ERROR(CheckRange("ceiling", FLAGS_ceiling, 0, 1e6));
  options.steps = FLAGS_steps;
  options.warmup = FLAGS_warmup;
  options.lora_r = FLAGS_lora_r;
  options.lora_dropout = FLAGS_lora_dropout;
  options.top = FLAGS_top;
  options.ceiling = FLAGS_ceiling;
  options.repeat = FLAGS_repeat;
  options.score_bytes = static_cast<int64_t>(FLAGS_score_gib * (1 << 30));
  options.keep_attention = FLAGS_keep_attention;
  options.checkpointing_name = FLAGS_gradient_checkpointing;
  ASSIGN_OR_RETURN(options.checkpointing,
                   Choice<nn::Checkpointing>("gradient_checkpointing", FLAGS_gradient_checkpointing,
                                             {{"none", nn::Checkpointing::kNone},
                                              {"cheap", nn::Checkpointing::kCheap},
                                              {"layer", nn::Checkpointing::kLayer}}));
  return options;
}

absl::StatusOr<ScalingOptions> ReadScalingFlags() {
  ScalingOptions options;
  ASSIGN_OR_RETURN(options.steps, ReadStepsFlags());
  RETURN_IF_ERROR(CheckRange("packs_per_rank", FLAGS_packs_per_rank, 1, 1e6));
  options.nproc_per_node = FLAGS_nproc_per_node;
  options.packs_per_rank = FLAGS_packs_per_rank;
  options.full = FLAGS_full;
  options.gradient_sums = absl::StrSplit(FLAGS_gradient_sum, ',', absl::SkipEmpty());
  options.rounds = FLAGS_rounds;
  for (const absl::string_view text : absl::StrSplit(FLAGS_bucket_cap_mb, ',')) {
    double cap = 0;
    if (!absl::SimpleAtod(text, &cap) || cap <= 0) {
      return UserError("--bucket_cap_mb", absl::StrCat("want sizes in MiB, got \"", text, "\""),
                       "for example 5,25,100");
    }
    options.bucket_caps_mb.push_back(cap);
  }
  return options;
}

// How the user started this: ranks are started by the same.
using CommandLine = std::vector<std::string>;

absl::Status RunKernels() {
  RETURN_IF_ERROR(ReadComputeFlags().status());
  char name[] = "bench";
  char* argv[] = {name, nullptr};
  int argc = 1;
  benchmark::Initialize(&argc, argv);
  if (benchmark::RunSpecifiedBenchmarks(FLAGS_kernels) > 0) return absl::OkStatus();
  return UserError("--kernels", absl::StrCat("no benchmark matches \"", FLAGS_kernels, "\""),
                   "--kernels=. runs all of them");
}

absl::Status RunSteps(const CommandLine&) {
  if (!FLAGS_kernels.empty()) return RunKernels();
  ASSIGN_OR_RETURN(const StepsOptions options, ReadStepsFlags());
  return BenchSteps(options);
}

absl::Status RunGenerate(const CommandLine&) {
  ASSIGN_OR_RETURN(const StepsOptions options, ReadStepsFlags());
  return BenchGenerate(options);
}

absl::Status RunGemmSearch(const CommandLine&) {
  ASSIGN_OR_RETURN(const StepsOptions options, ReadStepsFlags());
  return BenchGemmSearch({options.device, options.config_json, FLAGS_tokens, FLAGS_kernels,
                          FLAGS_candidates, FLAGS_only, FLAGS_rounds, FLAGS_row_ms});
}

absl::Status RunAllReduce(const CommandLine& command_line) {
  return BenchAllReduce(
      {FLAGS_nproc_per_node, FLAGS_max_channels, FLAGS_numel, FLAGS_products, FLAGS_rounds},
      command_line);
}

absl::Status RunScaling(const CommandLine& command_line) {
  ASSIGN_OR_RETURN(const ScalingOptions options, ReadScalingFlags());
  return BenchScaling(options, command_line);
}

absl::Status RunLoad(const CommandLine&) {
  RETURN_IF_ERROR(WantFlags({"model"}));
  ASSIGN_OR_RETURN(const ComputeOptions compute, ReadComputeFlags());
  ASSIGN_OR_RETURN(const std::string folder, FindModelFolder(FLAGS_model));
  return BenchLoad(folder, compute.device);
}

absl::Status RunPlan(const CommandLine&) {
  RETURN_IF_ERROR(ReadComputeFlags().status());
  ASSIGN_OR_RETURN(const DataOptions data, ReadDataFlags());
  return BenchPlan(data, FLAGS_documents);
}

absl::Status RunTokenize(const CommandLine&) {
  RETURN_IF_ERROR(ReadComputeFlags().status());
  ASSIGN_OR_RETURN(const DataOptions data, ReadDataFlags());
  return BenchTokenizer(JoinPath(data.model, "tokenizer.json"), data.cache_dir, data.train_files[0],
                        FLAGS_rounds);
}

struct Bench {
  const char* name;
  const char* measures;
  absl::Status (*run)(const CommandLine& command_line);
};
constexpr Bench kBenches[] = {
    {"steps", "--packs' steps; also without a name", RunSteps},
    {"generate", "tokens behind --packs' documents, which are prompts", RunGenerate},
    {"gemm_search", "kernels that cuBLASLt offers for --shape's products", RunGemmSearch},
    {"all_reduce", "the sum of gradients over GPUs", RunAllReduce},
    {"scaling", "steps on several ranks, by bucket size and way to add gradients", RunScaling},
    {"load", "--model's weights: rate, and host memory on the way", RunLoad},
    {"plan", "how equal the ranks' work is, and the time to plan it", RunPlan},
    {"tokenize", "loading --model's tokenizer, and tokenizing --train_file with it", RunTokenize},
};

std::string Usage() {
  std::string usage =
      "Measures training steps of LoRA: forward, backward, exact sums, clipping and AdamW.\n\n"
      "  bench --shape=135m --packs=1x1024 --num_threads=2\n"
      "  bench --kernels=gemm     kernels alone, by regular expression; \".\" is all\n";
  for (const Bench& bench : kBenches) {
    absl::StrAppendFormat(&usage, "  bench %-18s %s\n", bench.name, bench.measures);
  }
  usage.pop_back();
  return usage;
}

absl::Status Run(const CommandLine& command_line, const std::vector<std::string>& arguments) {
  RETURN_IF_ERROR(CheckRange("rounds", FLAGS_rounds, 1, 1e6));
  if (arguments.size() > 1) {
    return UserError("arguments", absl::StrCat("want at most one, got ", arguments[1]), "--help");
  }
  const std::string name = arguments.empty() ? kBenches[0].name : arguments[0];
  std::vector<std::string> names;
  for (const Bench& bench : kBenches) {
    if (name == bench.name) return bench.run(command_line);
    names.push_back(bench.name);
  }
  return UserError(
      "arguments", absl::StrCat("there is nothing named ", name, " to measure"),
      absl::StrCat("want ", absl::StrJoin(names, ", "), "; steps is also without a name"));
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  const std::vector<std::string> command_line(argv, argv + argc);
  return lockstep::ToolMain(argc, argv, lockstep::Usage(),
                            [&](const std::vector<std::string>& arguments) {
                              return lockstep::Run(command_line, arguments);
                            });
}
