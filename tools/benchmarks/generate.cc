#include "tools/benchmarks/generate.h"

#include <numeric>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/status.h"
#include "base/stopwatch.h"
#include "nn/generate.h"
#include "nn/model.h"
#include "tensor/runtime.h"
#include "tools/benchmarks/kernel_table.h"
#include "tools/benchmarks/shapes.h"

namespace lockstep {
namespace {

constexpr int64_t kTokens = 80;

// Says kTokens more behind each prompt; the moments at which those of the first came, in ms since
// the start.
absl::StatusOr<std::vector<double>> Say(const Context& context, const nn::Model& model,
                                        const PackShape& shape) {
  std::vector<int32_t> prompt(shape.length);
  std::iota(prompt.begin(), prompt.end(), 1);
  const std::vector<std::vector<int32_t>> prompts(shape.documents, prompt);
  nn::GenerateOptions options;
  options.max_new_tokens = kTokens;
  std::vector<double> moments;
  const Stopwatch watch;
  const auto on_token = [&](size_t text, int32_t) {
    if (text == 0) moments.push_back(watch.Milliseconds());
    return true;
  };
  RETURN_IF_ERROR(nn::GenerateAll(context, model.decoder(), prompts, options, on_token).status());
  return moments;
}

absl::Status Measure(const Context& context, const StepsOptions& options, const nn::Model& model,
                     const PackShape& shape) {
  for (int round = 0; round < 3; ++round) {
    ASSIGN_OR_RETURN(const std::vector<double> moments, Say(context, model, shape));
    const auto later = static_cast<double>(moments.size() - 1);
    absl::PrintF(
        "%s %s, %d prompts of %d tokens: the first token after %.1f ms, %d more of each text "
        "after %.2f ms each\n",
        options.name, TypeOf(options), shape.documents, shape.length, moments.front(),
        moments.size() - 1, (moments.back() - moments.front()) / later);
  }
  if (options.top == 0) return absl::OkStatus();
  return PrintKernelTable(context, static_cast<int>(kTokens), options.top,
                          [&] { return Say(context, model, shape).status(); });
}

}  // namespace

absl::Status BenchGenerate(const StepsOptions& options) {
  ASSIGN_OR_RETURN(const auto runtime, Runtime::Open(options.device));
  ASSIGN_OR_RETURN(const auto model,
                   RandomModel(runtime->context(), options.config_json, ModelOf(options)));
  absl::PrintF("%s\n", runtime->Describe());
  for (const std::string& text : options.packs) {
    ASSIGN_OR_RETURN(const PackShape shape, ParsePack(text));
    RETURN_IF_ERROR(Measure(runtime->context(), options, *model, shape));
  }
  return absl::OkStatus();
}

}  // namespace lockstep
