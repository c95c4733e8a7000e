// What training would see, and what is wrong with it; docs/tools.md.
#include "data/doctor.h"

#include <gflags/gflags.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status.h"
#include "base/terminal.h"
#include "nlohmann/json.hpp"
#include "nn/config.h"
#include "tools/doctor_print.h"
#include "trainer/flags/data_flags.h"
#include "trainer/flags/flag_values.h"
#include "trainer/flags/program.h"
#include "trainer/flags/user_path.h"
#include "trainer/plan/training_data.h"

DEFINE_bool(json, false, "Print one JSON object instead of text.");
DEFINE_string(html, "",
              "Also write a page with findings and the histogram of lengths to this file.");
DEFINE_int64(show, 3, "Documents to print, with what is learned marked.");
DEFINE_string(color, "auto",
              "auto (on a terminal, unless NO_COLOR is set), always or never; without color, marks "
              "are «…».");

namespace lockstep {
namespace {

constexpr char kUsage[] =
    "Examines documents as training would see them: tokens, what is learned, and what is wrong.\n"
    "Exits with 1 if training would fail silently or not start. Takes the trainer's data flags.\n\n"
    "  doctor --model=DIR --train_file=DATA.jsonl [--validation_file=…] [--json] [--html=FILE]";

absl::Status CheckFlags() {
  RETURN_IF_ERROR(WantFlags({"model", "train_file"}));
  if (FLAGS_color != "auto" && FLAGS_color != "always" && FLAGS_color != "never") {
    return UserError("--color", "want one of auto, always, never");
  }
  return absl::OkStatus();
}

// Broken documents would stop training at the first one; here all are wanted.
absl::StatusOr<Documents> LoadAll(const DataOptions& options, const nn::ModelConfig& model) {
  const auto quiet = [](absl::string_view, int64_t, int64_t) {};
  absl::StatusOr<Documents> documents = LoadDocuments(options, model, quiet);
  if (documents.ok() || options.skip_bad_documents) return documents;
  DataOptions lenient = options;
  lenient.skip_bad_documents = true;
  absl::StatusOr<Documents> rest = LoadDocuments(lenient, model, quiet);
  return rest.ok() ? std::move(rest) : std::move(documents);
}

void PrintJson(const data::Diagnosis& diagnosis) {
  nlohmann::ordered_json out = {{"documents", diagnosis.documents},
                                {"tokens", diagnosis.tokens},
                                {"supervised_tokens", diagnosis.supervised_tokens}};
  out["findings"] = nlohmann::ordered_json::array();
  for (const data::Finding& finding : diagnosis.findings) {
    std::vector<int64_t> lines;
    std::vector<std::string> places;
    for (const data::SourcePosition& place : finding.places) {
      lines.push_back(place.line);
      places.push_back(absl::StrCat(place.file, ":", place.line));
    }
    out["findings"].push_back({{"severity", std::string(data::SeverityName(finding.severity))},
                               {"code", finding.code},
                               {"count", finding.count},
                               {"lines", lines},
                               {"places", places},
                               {"message", finding.message},
                               {"advice", finding.advice}});
  }
  const auto& lengths = diagnosis.lengths;
  out["lengths"] = {{"median", lengths.median},
                    {"p90", lengths.p90},
                    {"p99", lengths.p99},
                    {"longest", lengths.longest}};
  const auto add_shares = [&](const char* key, const std::vector<data::Diagnosis::Share>& shares) {
    for (const data::Diagnosis::Share& share : shares) {
      out[key].push_back({{"name", share.name},
                          {"documents", share.documents},
                          {"tokens", share.tokens},
                          {"supervised_tokens", share.supervised_tokens}});
    }
  };
  add_shares("files", diagnosis.files);
  add_shares("formats", diagnosis.formats);
  const std::string text =
      out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  std::printf("%s\n", text.c_str());
}

void PrintDocuments(const Documents& documents, bool color) {
  const std::string on = color ? "\x1b[42;30m" : "«", off = color ? "\x1b[0m" : "»";
  const int64_t shown = std::min(FLAGS_show, documents.train->num_documents());
  for (int64_t i = 0; i < shown; ++i) {
    absl::PrintF("--- %s\n%s\n", documents.train->Position(i),
                 MarkedText(*documents.train, i, documents.tokenizer.get(), 400, on, off));
  }
  if (shown > 0) absl::PrintF("--- %swhat is learned%s\n\n", on, off);
}

void PrintText(const data::Diagnosis& diagnosis, const Documents& documents) {
  const bool color =
      FLAGS_color == "always" || (FLAGS_color == "auto" && TakesColors(STDOUT_FILENO));
  PrintDocuments(documents, color);
  absl::PrintF("%d documents, %d tokens, %d of them supervised\n", diagnosis.documents,
               diagnosis.tokens, diagnosis.supervised_tokens);
  for (const data::Diagnosis::Share& share : diagnosis.formats) {
    absl::PrintF("%s: %d documents, %d tokens, %.1f %% of them supervised\n", share.name,
                 share.documents, share.tokens, 100 * share.supervised_share());
  }
  const auto& lengths = diagnosis.lengths;
  absl::PrintF("tokens of a document: median %d, 90 %% at most %d, 99 %% at most %d, longest %d\n",
               lengths.median, lengths.p90, lengths.p99, lengths.longest);
  if (diagnosis.findings.empty()) absl::PrintF("no findings\n");
  for (const data::Finding& finding : diagnosis.findings) {
    std::vector<std::string> places;
    for (const data::SourcePosition& place : finding.places) {
      if (places.size() < 3) places.push_back(absl::StrCat(place.file, ":", place.line));
    }
    absl::PrintF("\n%-7s %s: %d\n        %s\n        %s\n", data::SeverityName(finding.severity),
                 finding.code, finding.count, finding.message, finding.advice);
    if (!places.empty()) absl::PrintF("        e.g. %s\n", absl::StrJoin(places, ", "));
  }
}

absl::Status Run() {
  RETURN_IF_ERROR(CheckFlags());
  ASSIGN_OR_RETURN(const DataOptions options, ReadDataFlags());
  ASSIGN_OR_RETURN(const nn::ModelConfig model, nn::ReadModelConfig(options.model));
  ASSIGN_OR_RETURN(const Documents documents, LoadAll(options, model));
  const data::Diagnosis diagnosis = data::Examine(DoctorInputOf(documents, options, model));
  if (!FLAGS_html.empty()) {
    const std::string page = DoctorPage(diagnosis, *documents.train, documents.tokenizer.get());
    RETURN_IF_ERROR(WriteFileAtomically(UserPath(FLAGS_html), page));
  }
  if (FLAGS_json) {
    PrintJson(diagnosis);
  } else {
    PrintText(diagnosis, documents);
  }
  return data::ErrorsOf(diagnosis);
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  return lockstep::ToolMain(argc, argv, lockstep::kUsage, lockstep::Run);
}
