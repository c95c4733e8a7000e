// merge: writes a base model with an adapter merged into it.
#include "nn/merge.h"

#include <cstdio>

#include "base/status.h"
#include "gflags/gflags.h"
#include "tensor/runtime.h"
#include "trainer/flags/flag_values.h"
#include "trainer/flags/model_folder.h"
#include "trainer/flags/program.h"
#include "trainer/flags/user_path.h"

DEFINE_string(model, "", "The base model's folder, or a hub id that lies in the local cache.");
DEFINE_string(adapter, "", "The PEFT adapter's folder.");
DEFINE_string(output_dir, "", "Folder to write; must not hold a model yet.");
DEFINE_string(dtype, "", "Of the merged weights: fp32, bf16 or fp16. Default: as the base files.");
DEFINE_double(max_shard_gb, 5, "Largest file, in units of 10^9 bytes.");
DEFINE_bool(probe, true,
            "Compare logits of base and adapter with the merged model's; loads both in fp32.");

namespace lockstep {
namespace {

constexpr char kUsage[] =
    "Writes a Hugging Face folder with W + s*B*A, computed in fp32.\n\n"
    "  merge --model=DIR --adapter=DIR --output_dir=DIR [--dtype=bf16]";

absl::StatusOr<std::optional<DType>> ParseDType(const std::string& text) {
  if (text.empty()) return std::optional<DType>();
  return Choice<std::optional<DType>>(
      "dtype", text, {{"fp32", DType::kF32}, {"bf16", DType::kBF16}, {"fp16", DType::kF16}});
}

absl::Status Run() {
  RETURN_IF_ERROR(WantFlags({"model", "adapter", "output_dir"}));
  RETURN_IF_ERROR(CheckRange("max_shard_gb", FLAGS_max_shard_gb, 1e-6, 1e6));
  nn::MergeOptions options;
  ASSIGN_OR_RETURN(options.model, FindModelFolder(FLAGS_model));
  options.adapter = UserPath(FLAGS_adapter);
  options.output = UserPath(FLAGS_output_dir);
  ASSIGN_OR_RETURN(options.dtype, ParseDType(FLAGS_dtype));
  options.max_shard_bytes = static_cast<uint64_t>(FLAGS_max_shard_gb * 1e9);
  ASSIGN_OR_RETURN(const std::unique_ptr<Runtime> runtime, Runtime::Open(Device{}));
  const Context& context = runtime->context();

  ASSIGN_OR_RETURN(const nn::MergeReport report, nn::MergeAdapter(context, options));
  for (const std::string& warning : report.warnings) {
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  }
  std::printf("%lld tensors merged, %lld copied, into %s\n",
              static_cast<long long>(report.merged_tensors),
              static_cast<long long>(report.copied_tensors), options.output.c_str());
  std::printf("weights: largest change %.3g, largest rounding error %.3g\n", report.largest_change,
              report.largest_rounding);
  if (report.untied) {
    std::printf(
        "the adapter changes embedding or head alone: the merged model is no longer tied\n");
  }
  if (!FLAGS_probe) return absl::OkStatus();
  ASSIGN_OR_RETURN(const nn::ProbeReport probe, nn::ProbeMerge(context, options));
  std::printf(
      "logits on random documents, merged against base + adapter: largest difference "
      "%.3g, mean %.3g; the adapter itself changes them by up to %.3g\n",
      probe.largest, probe.mean, probe.largest_effect);
  return absl::OkStatus();
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  return lockstep::ToolMain(argc, argv, lockstep::kUsage, lockstep::Run);
}
