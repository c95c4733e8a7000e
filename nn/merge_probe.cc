#include <algorithm>
#include <cmath>
#include <vector>

#include "base/status.h"
#include "nn/host_tensor.h"
#include "nn/merge.h"
#include "nn/model.h"
#include "nn/packed_tokens.h"
#include "tensor/kernels/philox.h"

namespace lockstep::nn {
namespace {

constexpr int32_t kDocuments = 4, kTokens = 48;

PackedTokens RandomDocuments(const Context& context, int64_t vocab) {
  std::vector<int32_t> ids, positions, starts = {0};
  for (int32_t i = 0; i < kDocuments * kTokens; ++i) {
    const auto words = kernels::Philox({{static_cast<uint32_t>(i), 0, 0, 0}}, /*key=*/1);
    ids.push_back(static_cast<int32_t>(words.word[0] % static_cast<uint64_t>(vocab)));
    positions.push_back(i % kTokens);
    if ((i + 1) % kTokens == 0) starts.push_back(i + 1);
  }
  return ToDevice(context, {ids, positions, starts, {}, {}, {}});
}

absl::StatusOr<std::vector<float>> LogitsOf(const Context& context, const std::string& directory,
                                            const std::string& adapter) {
  ModelOptions options;
  options.directory = directory;
  options.adapter = adapter;
  options.training = false;
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Load(context, options));
  const PackedTokens pack = RandomDocuments(context, model->config().vocab_size);
  autograd::Tape tape(context, autograd::Tape::Mode::kForward);
  const autograd::Variable hidden = model->decoder().Hidden(tape, pack);
  std::vector<int32_t> rows(pack.num_tokens());
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int32_t>(i);
  const Tensor device_rows = FromHost<int32_t>(context, rows);
  return ToHost<float>(context, model->decoder().Logits(tape, hidden, device_rows));
}

}  // namespace

absl::StatusOr<ProbeReport> ProbeMerge(const Context& context, const MergeOptions& options) {
  ASSIGN_OR_RETURN(const auto base, LogitsOf(context, options.model, ""));
  ASSIGN_OR_RETURN(const auto adapted, LogitsOf(context, options.model, options.adapter));
  ASSIGN_OR_RETURN(const auto merged, LogitsOf(context, options.output, ""));
  ProbeReport report;
  for (size_t i = 0; i < merged.size(); ++i) {
    const double difference = std::abs(static_cast<double>(merged[i]) - adapted[i]);
    report.largest = std::max(report.largest, difference);
    report.mean += difference / static_cast<double>(merged.size());
    const double effect = std::abs(static_cast<double>(adapted[i]) - base[i]);
    report.largest_effect = std::max(report.largest_effect, effect);
  }
  return report;
}

}  // namespace lockstep::nn
