#include "data/doctor.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "data/document_cases.h"
#include "data/encode.h"

namespace lockstep::data {
namespace {

// What the encoder has noted down is a finding as it is.
constexpr struct NotedFinding {
  Note note;
  Severity severity;
  const char *code, *message, *advice;
} kNotedFindings[] = {
    {kNoEndOfTurn, Severity::kWarning, "no_end_of_turn",
     "a trained turn or text ends without a special token: the model may not learn to stop",
     "use the chat template that belongs to the tokenizer; for texts and pairs name an eos_token "
     "in tokenizer_config.json"},
    {kHistoryRewritten, Severity::kWarning, "unstable_template",
     "the chat template rewrites earlier turns, so each trained turn is a document of its own or "
     "only the last one is trained",
     "--history says which; strict refuses"},
    {kSpecialInContent, Severity::kWarning, "special_in_content",
     "text of a special token is typed in a message or tool: it would act as that token",
     "remove it, or check that whoever wrote it may speak for the assistant"},
    {kRoleOrder, Severity::kWarning, "unusual_role_order",
     "user and assistant do not take turns, or a role is unknown",
     "join what one of them says in a row, and check where conversations were cut"},
    {kEmptyAnswer, Severity::kWarning, "empty_answer", "a trained answer has no text",
     "remove these documents, or the model learns to say nothing"},
    {kMessageLost, Severity::kWarning, "message_lost",
     "the chat template leaves out what a message says: the model never sees it",
     "check the message's role and its content's form, or use another template "
     "(--chat_template)"},
    {kToolCallLost, Severity::kWarning, "tool_call_lost",
     "the chat template leaves out a tool call: the model would learn to answer without it",
     "use a template that has a form for tool calls (--chat_template)"},
    {kBoundaryMerged, Severity::kInfo, "boundary_merged",
     "a token reaches over the beginning or end of what is learned; it belongs to where it begins",
     "usually harmless: a space or line break at the end of the prompt"},
};

// What becomes of the documents over the length.
std::string Fate(const LengthPolicy& policy, int64_t tokens_lost) {
  switch (policy.long_documents) {
    case LongDocuments::kTruncate:
      return absl::StrCat("are cut, ", tokens_lost, " tokens are lost");
    case LongDocuments::kSplit:
      return "are split";
    case LongDocuments::kDrop:
      return absl::StrCat("are left out, ", tokens_lost, " tokens are lost");
    case LongDocuments::kRefuse:
      return "are refused";
  }
  return "";
}

std::vector<SourcePosition> Places(const Dataset& dataset, const Cases& cases) {
  std::vector<SourcePosition> places;
  for (const int64_t document : cases.Worst()) {
    const DocumentInfo& info = dataset.document(document);
    const SourcePosition place = {dataset.files()[info.file], info.line};
    if (places.empty() || !(places.back() == place)) places.push_back(place);  // turns of one chat
  }
  return places;
}

void Describe(const DocumentCases& cases, const DoctorInput& input, Diagnosis& out) {
  const auto add = [&](Severity severity, const char* code, const Cases& found, std::string message,
                       std::string advice) {
    if (found.count() == 0) return;
    out.findings.push_back({severity, code, found.count(), Places(*input.dataset, found),
                            std::move(message), std::move(advice)});
  };
  using enum Severity;
  // Too few documents would be left.
  const auto if_most = [&](const Cases& found) {
    return 10 * found.count() > 9 * out.documents ? kError : kWarning;
  };
  add(if_most(cases.unsupervised), "no_supervised_tokens", cases.unsupervised,
      "nothing in these documents is learned; training leaves them out",
      "check the roles, labels and --loss_on: all learns every token");
  add(kError, "double_bos", cases.double_bos, "these documents begin with two start tokens",
      "take the start token's text out of the documents; the tokenizer puts it there");
  add(cases.teach_stop == 0 ? kError : kWarning, "untrained_stop_token", cases.untrained_stop,
      "the token that ends the text stands behind what is learned but is not learned itself: the "
      "model would not learn to stop",
      "supervise it: its label is its id, or it stands inside the template's generation block");
  add(kError, "token_outside_vocabulary", cases.outside_vocabulary,
      absl::StrCat("the model knows ids below ", input.vocab_size, ", the largest here is ",
                   cases.largest_id),
      "use the tokenizer that belongs to the model");
  for (const NotedFinding& noted : kNotedFindings) {
    add(noted.severity, noted.code, cases.With(noted.note), noted.message, noted.advice);
  }
  add(kWarning, "empty_document", cases.empty, "there is at most one token", "remove them");
  add(kWarning, "duplicate_document", cases.duplicate,
      "equal to an earlier document: these count several times",
      "remove copies that are not meant");
  const LongDocuments policy = input.length.long_documents;
  const Severity if_dropped = policy == LongDocuments::kDrop ? if_most(cases.too_long) : kWarning;
  add(policy == LongDocuments::kRefuse ? kError : if_dropped, "too_long", cases.too_long,
      absl::StrCat("want at most ", input.length.max_seq_length, " tokens; longer documents ",
                   Fate(input.length, cases.tokens_lost)),
      "--max_seq_length (at most the model's own) and --long_documents decide");
  add(if_most(cases.cut_off), "answer_cut_off", cases.cut_off,
      "all that would be learned lies behind the cut; training leaves these out",
      "a larger --max_seq_length, or --long_documents=split");
}

void DescribeOverlap(const DocumentCases& cases, const Dataset& validation, Diagnosis& out) {
  if (cases.overlap.count() == 0) return;
  out.findings.push_back({Severity::kWarning, "validation_overlap", cases.overlap.count(),
                          Places(validation, cases.overlap),
                          "documents of validation are in the training data too",
                          "their loss says nothing about new texts; --validation_split never "
                          "overlaps"});
}

void DescribeConflicts(const std::vector<std::string>& tokens, Diagnosis& out) {
  constexpr size_t kShown = 3;
  if (tokens.empty()) return;
  const auto end = tokens.begin() + std::min(tokens.size(), kShown);
  out.findings.push_back(
      {Severity::kWarning,
       "tokenizer_conflict",
       std::ssize(tokens),
       {},
       absl::StrCat("tokenizer_config.json has tokens that tokenizer.json has not, or with other "
                    "flags: ",
                    absl::StrJoin(tokens.begin(), end, " "), tokens.size() > kShown ? " …" : ""),
       "transformers would make other tokens of some texts: let it save the tokenizer again, so "
       "that both files say the same"});
}

void DescribeSkipped(const DoctorInput& input, Diagnosis& out) {
  Finding finding{input.may_skip ? Severity::kWarning : Severity::kError,
                  "bad_document",
                  0,
                  {},
                  "broken documents",
                  "repair them, or leave them out with --skip_bad_documents"};
  std::string example;
  for (const Dataset* set : {input.dataset, input.validation}) {
    if (set == nullptr) continue;
    finding.count += set->num_skipped();
    for (const SkippedDocument& skipped : set->skipped()) {
      if (finding.places.size() >= kMaxExamples) break;
      finding.places.push_back({set->files()[skipped.file], skipped.line});
      if (example.empty()) example = absl::StrCat(", e.g. ", set->ErrorOf(skipped));
    }
  }
  if (finding.count == 0) return;
  finding.message += example;
  out.findings.push_back(std::move(finding));
}

// The share of that name, the last one if it is new.
Diagnosis::Share& ShareOf(const std::string& name, std::vector<Diagnosis::Share>& shares) {
  const auto found = std::find_if(shares.begin(), shares.end(), [&](const Diagnosis::Share& share) {
    return share.name == name;
  });
  return found != shares.end() ? *found : shares.emplace_back(Diagnosis::Share{name});
}

void DescribeShares(const Dataset& dataset, Diagnosis& out) {
  for (const std::string& name : dataset.files()) out.files.push_back({name});
  for (int64_t i = 0; i < dataset.num_documents(); ++i) {
    const DocumentInfo& info = dataset.document(i);
    Diagnosis::Share& file = out.files[info.file];
    ++file.documents;
    file.tokens += info.num_tokens;
    file.supervised_tokens += info.num_supervised;
    out.tokens += info.num_tokens;
    out.supervised_tokens += info.num_supervised;
  }
  for (size_t i = 0; i < out.files.size(); ++i) {
    const Diagnosis::Share& file = out.files[i];
    Diagnosis::Share& format = ShareOf(dataset.formats()[i], out.formats);
    format.documents += file.documents;
    format.tokens += file.tokens;
    format.supervised_tokens += file.supervised_tokens;
    if (file.supervised_tokens == 0 || file.supervised_share() >= 0.01) continue;
    out.findings.push_back(
        {Severity::kInfo,
         "few_supervised_tokens",
         file.documents,
         {},
         absl::StrFormat("only %.2f %% of the tokens of %s are learned",
                         100 * file.supervised_share(), file.name),
         "most of the time goes into reading prompts; shorten them if they say little"});
  }
}

void DescribeLengths(const Dataset& dataset, Diagnosis& out) {
  if (out.documents == 0) return;
  std::vector<std::pair<int64_t, int64_t>> sorted;  // length, document
  for (int64_t i = 0; i < dataset.num_documents(); ++i) {
    sorted.emplace_back(dataset.document(i).num_tokens, i);
  }
  std::sort(sorted.begin(), sorted.end());
  const auto quantile = [&](double share) {
    return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1))].first;
  };
  out.lengths = {quantile(0.5), quantile(0.9), quantile(0.99), sorted.back().first};
  for (int64_t begin = 1; begin <= sorted.back().first; begin *= 2) {
    out.histogram.push_back({begin, 2 * begin, 0});
  }
  Cases tail;
  for (const auto& [length, document] : sorted) {
    if (length > 0) ++out.histogram[static_cast<size_t>(std::log2(length))].count;
    if (length > 8 * std::max<int64_t>(out.lengths.median, 16)) tail.Add(document, length);
  }
  if (tail.count() > 0) {
    out.findings.push_back({Severity::kInfo, "long_tail", tail.count(), Places(dataset, tail),
                            absl::StrCat("more than 8 times the median of ", out.lengths.median,
                                         " tokens; the longest has ", out.lengths.longest),
                            "the longest document decides the memory; --max_seq_length bounds it"});
  }
}

}  // namespace

absl::string_view SeverityName(Severity severity) {
  switch (severity) {
    case Severity::kError:
      return "error";
    case Severity::kWarning:
      return "warning";
    case Severity::kInfo:
      return "info";
  }
  return "";
}

Diagnosis Examine(const DoctorInput& input) {
  const Dataset& dataset = *input.dataset;
  Diagnosis out;
  out.documents = dataset.num_documents();
  const DocumentCases cases = LookAtDocuments(input);
  Describe(cases, input, out);
  if (input.validation != nullptr) DescribeOverlap(cases, *input.validation, out);
  DescribeConflicts(input.token_conflicts, out);
  DescribeSkipped(input, out);
  DescribeShares(dataset, out);
  DescribeLengths(dataset, out);
  std::stable_sort(out.findings.begin(), out.findings.end(),
                   [](const Finding& a, const Finding& b) {
                     return a.severity != b.severity ? a.severity < b.severity : a.count > b.count;
                   });
  return out;
}

absl::Status ErrorsOf(const Diagnosis& diagnosis) {
  std::vector<std::string> problems, advice;
  for (const Finding& finding : diagnosis.findings) {
    if (finding.severity != Severity::kError) continue;
    // Broken documents are none of the data set's.
    const int64_t all = diagnosis.documents + (finding.code == "bad_document" ? finding.count : 0);
    std::string problem = absl::StrCat(finding.code, ": ", finding.message, " (", finding.count,
                                       " of ", all, " documents");
    if (!finding.places.empty()) {
      absl::StrAppend(&problem, ", e.g. ", finding.places[0].file, ":", finding.places[0].line);
    }
    problems.push_back(absl::StrCat(problem, ")"));
    advice.push_back(finding.advice);
  }
  if (problems.empty()) return absl::OkStatus();
  return UserError("data", absl::StrJoin(problems, "; "), absl::StrJoin(advice, "; "));
}

}  // namespace lockstep::data
