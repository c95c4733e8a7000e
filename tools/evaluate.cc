// The loss of a model, with or without an adapter, on documents; docs/tools.md.
#include "trainer/step/evaluate.h"

#include <gflags/gflags.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/number.h"
#include "base/status.h"
#include "base/terminal.h"
#include "data/loader.h"
#include "data/selection.h"
#include "data/step_plan.h"
#include "nn/config.h"
#include "tools/model_flags.h"
#include "trainer/flags/data_flags.h"
#include "trainer/flags/flag_values.h"
#include "trainer/flags/program.h"
#include "trainer/plan/training_data.h"

DECLARE_string(train_file);
DECLARE_string(validation_file);
DEFINE_bool(per_document, false, "First a line for each document: index, nll, supervised_tokens.");

namespace lockstep {
namespace {

constexpr char kUsage[] =
    "Prints {\"loss\", \"perplexity\", \"supervised_tokens\", \"documents\"}: the mean of\n"
    "−log p over the supervised tokens of all documents, which are read, cut and masked as\n"
    "training would.\n\n"
    "  evaluate --model=DIR [--adapter=DIR] --validation_file=DATA.jsonl [--per_document]";

// The documents to evaluate take the place of those to train on.
absl::StatusOr<DataOptions> ReadFlags() {
  RETURN_IF_ERROR(WantFlags({"model"}));
  if (FLAGS_validation_file.empty()) {
    return UserError("--validation_file", "want documents to evaluate on, got nothing",
                     FLAGS_train_file.empty() ? "--validation_file=DATA.jsonl"
                                              : "--validation_file in place of --train_file");
  }
  if (!FLAGS_train_file.empty()) {
    return UserError("--train_file", "nothing is trained here", "leave it out");
  }
  FLAGS_train_file = FLAGS_validation_file;
  FLAGS_validation_file.clear();
  return ReadDataFlags();
}

struct DocumentLoss {
  double nll = 0;
  int64_t supervised_tokens = 0;
};

std::vector<DocumentLoss> Evaluate(const ReadyModel& model, const data::Dataset& dataset,
                                   const std::vector<data::Piece>& pieces,
                                   int64_t tokens_per_pack) {
  std::vector<DocumentLoss> losses(dataset.num_documents());
  const std::vector<data::PackPlan> packs = data::PlanEvaluation(pieces, tokens_per_pack);
  const bool shows_progress = RewritesLines(STDERR_FILENO);
  for (size_t i = 0; i < packs.size(); ++i) {
    if (shows_progress) absl::FPrintF(stderr, "\rpack %d of %d ", i + 1, packs.size());
    const data::Pack pack = data::BuildPack(dataset, pieces, packs[i], /*epoch=*/0);
    for (const SequenceLoss& loss : SequenceLosses(model.context(), model.decoder(), pack)) {
      losses[loss.document].nll += loss.nll;
      losses[loss.document].supervised_tokens += loss.supervised_tokens;
    }
  }
  if (shows_progress) absl::FPrintF(stderr, "\r\x1b[K");
  return losses;
}

void Print(const std::vector<DocumentLoss>& losses, bool per_document) {
  double sum = 0;
  int64_t supervised = 0;
  for (size_t i = 0; i < losses.size(); ++i) {
    sum += losses[i].nll;
    supervised += losses[i].supervised_tokens;
    if (!per_document) continue;
    absl::PrintF("{\"index\": %d, \"nll\": %s, \"supervised_tokens\": %d}\n", i,
                 ShortestNumber(losses[i].nll), losses[i].supervised_tokens);
  }
  const double loss = sum / static_cast<double>(supervised);
  absl::PrintF("{\"loss\": %s, \"perplexity\": %s, \"supervised_tokens\": %d, \"documents\": %d}\n",
               ShortestNumber(loss), ShortestNumber(std::exp(loss)), supervised, losses.size());
}

absl::Status Run() {
  ASSIGN_OR_RETURN(const DataOptions options, ReadFlags());
  ASSIGN_OR_RETURN(const nn::ModelConfig config, nn::ReadModelConfig(options.model));
  const auto quiet = [](absl::string_view, int64_t, int64_t) {};
  ASSIGN_OR_RETURN(const Documents documents, LoadDocuments(options, config, quiet));
  data::LengthPolicy length = options.length;
  length.max_seq_length = std::min(length.max_seq_length, config.longest_document());
  ASSIGN_OR_RETURN(const data::Selection selection, data::SelectPieces(*documents.train, length));
  const int64_t tokens_per_pack = options.tokens_per_pack.value_or(
      data::DefaultTokensPerPack(selection.pieces, options.global_batch_size));
  for (const auto& [what, count] : LossTable(selection, documents.train->num_skipped(), "")) {
    absl::FPrintF(stderr, "warning: documents %s: %s\n", what, count);
  }
  for (const std::string& remark : documents.train->Remarks()) {
    absl::FPrintF(stderr, "note: %s\n", remark);
  }
  ASSIGN_OR_RETURN(const ReadyModel model, LoadModel(options.model));
  Print(Evaluate(model, *documents.train, selection.pieces, tokens_per_pack), FLAGS_per_document);
  return absl::OkStatus();
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  return lockstep::ToolMain(argc, argv, lockstep::kUsage, lockstep::Run);
}
