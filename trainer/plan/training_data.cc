#include "trainer/plan/training_data.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/number.h"
#include "base/status.h"
#include "data/columns.h"
#include "data/tokenizer/token_conflicts.h"
#include "trainer/plan/idle_flags.h"

namespace lockstep {
namespace {

absl::StatusOr<std::shared_ptr<const data::Dataset>> OpenFiles(
    const std::vector<std::string>& files, const DataOptions& options, const Documents& documents,
    const data::ProgressFn& progress) {
  data::DatasetSpec spec;
  spec.files = files;
  spec.example_options = options.examples;
  spec.skip_bad_documents = options.skip_bad_documents;
  spec.cache_dir = options.cache_dir;
  spec.encoder_fingerprint =
      absl::StrCat(documents.encoder->Fingerprint(), "\n",
                   documents.tokenizer ? documents.tokenizer->fingerprint() : "no tokenizer");
  return data::OpenOrBuildDataset(spec, *documents.encoder, progress);
}

std::string Percent(int64_t part, int64_t whole) {
  return whole == 0 ? "0 %" : absl::StrFormat("%.1f %%", 100.0 * part / whole);
}

using Rows = std::vector<std::pair<std::string, std::string>>;

struct Totals {
  int64_t tokens = 0, supervised = 0, longest = 0;
};
Totals Sum(const std::vector<data::Piece>& pieces) {
  Totals totals;
  for (const data::Piece& piece : pieces) {
    totals.tokens += piece.length();
    totals.supervised += piece.num_supervised;
    totals.longest = std::max<int64_t>(totals.longest, piece.length());
  }
  return totals;
}

// What the flag says, or a default that has room for every piece.
absl::StatusOr<int64_t> TokensPerPack(const DataOptions& options,
                                      const std::vector<data::Piece>& train,
                                      const std::vector<data::Piece>& validation) {
  const int64_t longest = std::max(Sum(train).longest, Sum(validation).longest);
  if (!options.tokens_per_pack) {
    return std::max(data::DefaultTokensPerPack(train, options.global_batch_size),
                    (longest + 63) / 64 * 64);
  }
  if (*options.tokens_per_pack >= longest) return *options.tokens_per_pack;
  return UserError("--tokens_per_pack",
                   absl::StrCat("want room for the longest document, ", longest, " tokens; got ",
                                *options.tokens_per_pack),
                   "--max_seq_length shortens documents");
}

std::string Sequences(const std::vector<data::Piece>& pieces) {
  return absl::StrCat(pieces.size(), pieces.size() == 1 ? " sequence" : " sequences");
}

}  // namespace

absl::StatusOr<Documents> LoadDocuments(const DataOptions& options, const nn::ModelConfig& model,
                                        const data::ProgressFn& progress) {
  Documents documents;
  const std::string tokenizer = JoinPath(options.model, "tokenizer.json");
  if (FileExists(tokenizer)) {
    data::TokenizerOptions tokenizer_options;
    tokenizer_options.cache_dir = options.cache_dir;
    ASSIGN_OR_RETURN(documents.tokenizer, data::Tokenizer::Load(tokenizer, tokenizer_options));
  }
  ASSIGN_OR_RETURN(documents.tokenizer_config, data::ReadTokenizerConfig(options.model));
  data::EncodeOptions encode = options.encode;
  encode.vocab_size = model.vocab_size;
  if (!model.eos_token_ids.empty()) {
    encode.eos_token_id = static_cast<int32_t>(model.eos_token_ids[0]);
  }
  ASSIGN_OR_RETURN(documents.encoder,
                   data::DocumentEncoder::Create(documents.tokenizer.get(),
                                                 documents.tokenizer_config, std::move(encode)));
  ASSIGN_OR_RETURN(documents.train, OpenFiles(options.train_files, options, documents, progress));
  if (!options.validation_files.empty()) {
    ASSIGN_OR_RETURN(documents.validation,
                     OpenFiles(options.validation_files, options, documents, progress));
  }
  std::vector<std::string> keys = documents.train->keys();
  if (documents.validation) {
    const std::vector<std::string>& more = documents.validation->keys();
    keys.insert(keys.end(), more.begin(), more.end());
  }
  RETURN_IF_ERROR(data::CheckColumns(options.examples.columns, keys));
  return documents;
}

data::DoctorInput DoctorInputOf(const Documents& documents, const DataOptions& options,
                                const nn::ModelConfig& model) {
  data::DoctorInput input;
  input.dataset = documents.train.get();
  input.validation = documents.validation.get();
  input.length = options.length;
  input.length.max_seq_length = std::min(input.length.max_seq_length, model.longest_document());
  input.vocab_size = model.vocab_size;
  input.may_skip = options.skip_bad_documents;
  const auto id_of = [&](const std::optional<std::string>& token) -> std::optional<int32_t> {
    if (!token || documents.tokenizer == nullptr) return std::nullopt;
    return documents.tokenizer->TokenToId(*token);
  };
  if (documents.tokenizer != nullptr) {
    input.token_conflicts = data::TokenConflicts(*documents.tokenizer, documents.tokenizer_config);
  }
  input.bos = id_of(documents.tokenizer_config.bos_token);
  if (!input.bos && model.bos_token_id >= 0) input.bos = static_cast<int32_t>(model.bos_token_id);
  for (const int64_t id : model.eos_token_ids) {
    input.stop_tokens.push_back(static_cast<int32_t>(id));
  }
  const auto eos = id_of(documents.tokenizer_config.eos_token);
  if (eos) input.stop_tokens.push_back(*eos);
  // A start token that also ends texts says nothing about either.
  if (input.bos && std::count(input.stop_tokens.begin(), input.stop_tokens.end(), *input.bos) > 0) {
    input.bos.reset();
  }
  return input;
}

absl::StatusOr<std::unique_ptr<TrainingData>> PlanTraining(Documents documents,
                                                           const DataOptions& options,
                                                           const nn::ModelConfig& model,
                                                           uint64_t seed) {
  auto data = std::make_unique<TrainingData>();
  data->documents = std::move(documents);
  const data::DoctorInput doctor = DoctorInputOf(data->documents, options, model);
  data->diagnosis = data::Examine(doctor);
  RETURN_IF_ERROR(data::ErrorsOf(data->diagnosis));
  std::vector<std::string> formats = data->documents.train->formats();
  if (data->documents.validation) {
    const std::vector<std::string>& more = data->documents.validation->formats();
    formats.insert(formats.end(), more.begin(), more.end());
  }
  data->idle_flags = IdleDataFlags(options, formats, data->documents.encoder->has_chat_template());
  const data::LengthPolicy& length = doctor.length;
  const data::Split split = data::SplitByContent(*data->documents.train, options.validation_split);
  ASSIGN_OR_RETURN(data->train, data::SelectPieces(*data->documents.train, length, &split.train));
  if (data->documents.validation) {
    ASSIGN_OR_RETURN(data->validation, data::SelectPieces(*data->documents.validation, length));
  } else if (!split.validation.empty()) {
    ASSIGN_OR_RETURN(data->validation,
                     data::SelectPieces(*data->documents.train, length, &split.validation));
  }

  data->plan_options.global_batch_size = options.global_batch_size;
  data->plan_options.seed = seed;
  ASSIGN_OR_RETURN(data->plan_options.tokens_per_pack,
                   TokensPerPack(options, data->train.pieces, data->validation.pieces));
  data->plan = std::make_unique<data::StepPlan>(data->train.pieces, data->plan_options);
  data->evaluation =
      data::PlanEvaluation(data->validation.pieces, data->plan_options.tokens_per_pack);
  return data;
}

std::vector<std::pair<std::string, std::string>> LossTable(const data::Selection& selection,
                                                           int64_t num_skipped,
                                                           const std::string& of) {
  Rows rows;
  const auto add = [&](const char* label, int64_t count, const std::string& remark) {
    if (count > 0) rows.push_back({label, absl::StrCat(of, count, remark)});
  };
  const std::string limit = absl::StrCat(selection.max_seq_length, " tokens");
  const std::string lost = absl::StrCat(", ", HumanCount(selection.tokens_lost), " tokens lost");
  add("truncated", selection.num_truncated, absl::StrCat(" to ", limit, lost));
  add("split", selection.num_split, absl::StrCat(" into pieces of at most ", limit));
  add("dropped as too long", selection.num_dropped, absl::StrCat(" of more than ", limit, lost));
  add("left out: nothing to learn", selection.num_unsupervised, "");
  add("skipped as bad", num_skipped, "");
  return rows;
}

std::vector<std::pair<std::string, std::string>> DataTable(const TrainingData& data) {
  const data::Dataset& set = *data.documents.train;
  const data::Selection& train = data.train;
  const Totals totals = Sum(train.pieces);
  Rows rows = {
      {"files", absl::StrJoin(set.files(), ", ",
                              [](std::string* out, const std::string& file) {
                                out->append(ShownPath(file));
                              })},
      {"documents", absl::StrCat(set.num_documents())},
      {"trained on",
       absl::StrCat(Sequences(train.pieces), ", ", HumanCount(totals.tokens), " tokens")},
      {"supervised", absl::StrFormat("%s tokens (%s)", HumanCount(totals.supervised),
                                     Percent(totals.supervised, totals.tokens))},
  };
  if (!data.validation.pieces.empty()) {
    const int64_t supervised = Sum(data.validation.pieces).supervised;
    rows.push_back({"evaluated on", absl::StrCat(Sequences(data.validation.pieces), ", ",
                                                 HumanCount(supervised), " supervised tokens")});
  }
  if (train.longest_document >= 0) {
    rows.push_back(
        {"longest document",
         absl::StrFormat("%d tokens (%s)", set.document(train.longest_document).num_tokens,
                         ShownPath(set.Position(train.longest_document)))});
  }
  const data::Dataset* const held = data.documents.validation.get();
  for (const Rows& losses :
       {LossTable(train, set.num_skipped(), ""),
        LossTable(data.validation, held == nullptr ? 0 : held->num_skipped(), "evaluation: ")}) {
    rows.insert(rows.end(), losses.begin(), losses.end());
  }
  for (const data::Finding& finding : data.diagnosis.findings) {
    const bool has_row = finding.code == "too_long" || finding.code == "bad_document" ||
                         finding.code == "no_supervised_tokens";
    if (finding.severity != data::Severity::kWarning || has_row) continue;
    rows.push_back({absl::StrCat("warning: ", finding.code),
                    absl::StrCat(finding.count, "; ", finding.message)});
  }
  for (const std::string& flag : data.idle_flags) rows.push_back({"warning: without effect", flag});
  for (const data::Dataset* documents : {&set, held}) {
    if (documents == nullptr) continue;
    for (const std::string& remark : documents->Remarks()) rows.push_back({"remark", remark});
  }
  return rows;
}

std::vector<std::pair<std::string, std::string>> PlanTable(const TrainingData& data,
                                                           int64_t num_steps, int64_t ranks) {
  const data::StepPlan::Summary summary = data.plan->Summarize();
  std::vector<std::pair<std::string, std::string>> rows = {
      {"steps", absl::StrFormat("%d (%d an epoch)", num_steps, data.plan->steps_per_epoch())},
      {"documents a step", absl::StrCat(data.plan_options.global_batch_size)},
      {"packs a step", summary.min_packs == summary.max_packs
                           ? absl::StrCat(summary.max_packs)
                           : absl::StrCat(summary.min_packs, " to ", summary.max_packs)},
      {"tokens per pack",
       absl::StrFormat("at most %d, largest %d", data.plan_options.tokens_per_pack,
                       summary.max_pack_tokens)},
      {"imbalance of packs", absl::StrFormat("%.1f %%", 100 * summary.mean_imbalance)},
  };
  const int64_t enough = data::BatchSizeForRanks(data.train.pieces, ranks);
  const bool often_idle = ranks <= 8 && data.plan_options.global_batch_size < enough;
  if (often_idle || summary.max_packs < ranks) {
    const bool can_be_had = enough <= std::ssize(data.train.pieces);
    rows.push_back({"HINT", absl::StrCat("steps have fewer packs than there are ranks; ",
                                         can_be_had ? absl::StrCat("--global_batch_size=", enough,
                                                                   " gives each rank one")
                                                    : "all documents together would not do")});
  }
  return rows;
}

}  // namespace lockstep
