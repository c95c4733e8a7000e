#include "data/doctor.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "data/encode.h"
#include "data/token_cache.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace lockstep::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int32_t kBos = 1, kStop = 2;
constexpr char kKey[] = "0123456789abcdef0123456789abcdef";

// A document; tokens from `learned_from` on are supervised, but for a last stop token if it says
// so.
EncodedDocument Document(std::vector<int32_t> ids, size_t learned_from, uint32_t notes = 0,
                         bool learns_stop = true) {
  EncodedDocument document;
  document.supervised.assign(ids.size(), 0);
  for (size_t i = learned_from; i < ids.size(); ++i) document.supervised[i] = 1;
  if (!learns_stop && !ids.empty()) document.supervised.back() = 0;
  document.input_ids = std::move(ids);
  document.notes = notes;
  return document;
}

std::vector<int64_t> Lines(const Finding& finding) {
  std::vector<int64_t> lines;
  for (const SourcePosition& place : finding.places) lines.push_back(place.line);
  return lines;
}

std::shared_ptr<const Dataset> Cached(const std::vector<EncodedDocument>& documents,
                                      const std::vector<SkippedDocument>& skipped = {}) {
  static int number = 0;
  const std::string path = absl::StrCat(::testing::TempDir(), "/doctor", ++number);
  auto cache = TokenCache::Create(path);
  CHECK(cache.ok()) << cache.status();
  for (size_t i = 0; i < documents.size(); ++i) {
    CHECK((*cache)->Add(documents[i], 0, static_cast<int64_t>(i) + 1).ok());
  }
  const int64_t num_skipped = static_cast<int64_t>(skipped.size());
  CHECK((*cache)->Finish(kKey, {{"data.jsonl"}, {"messages"}, skipped, num_skipped, {}, {}}).ok());
  auto dataset = TokenCache::Open(path, kKey);
  CHECK(dataset.ok()) << dataset.status();
  return *dataset;
}

class DoctorTest : public ::testing::Test {
 protected:
  // Findings by code.
  std::map<std::string, Finding> Examine(const std::vector<EncodedDocument>& documents) {
    dataset_ = Cached(documents);
    input_.dataset = dataset_.get();
    diagnosis_ = data::Examine(input_);
    std::map<std::string, Finding> findings;
    for (const Finding& finding : diagnosis_.findings) findings[finding.code] = finding;
    return findings;
  }

  std::shared_ptr<const Dataset> dataset_;
  DoctorInput input_{.vocab_size = 100, .bos = kBos, .stop_tokens = {kStop}};
  Diagnosis diagnosis_;
};

TEST_F(DoctorTest, TokensThatTheModelsFilesHaveOtherwise) {
  EXPECT_EQ(Examine({Document({5, 6, kStop}, 1)}).count("tokenizer_conflict"), 0u);
  input_.token_conflicts = {"<a>", "<b>", "<c>", "<d>"};
  const Finding finding = Examine({Document({5, 6, kStop}, 1)})["tokenizer_conflict"];
  EXPECT_EQ(finding.severity, Severity::kWarning);
  EXPECT_EQ(finding.count, 4);
  EXPECT_THAT(finding.message, HasSubstr("flags: <a> <b> <c> …"));
}

TEST_F(DoctorTest, HealthyDataHasNoFindings) {
  EXPECT_TRUE(
      Examine({Document({kBos, 5, 6, kStop}, 2), Document({kBos, 7, 8, 9, kStop}, 3)}).empty());
  EXPECT_EQ(diagnosis_.documents, 2);
  EXPECT_EQ(diagnosis_.tokens, 9);
  EXPECT_EQ(diagnosis_.supervised_tokens, 4);
  EXPECT_EQ(dataset_->num_tokens(), 9);
  ASSERT_EQ(diagnosis_.formats.size(), 1u);
  EXPECT_EQ(diagnosis_.formats[0].name, "messages");
  EXPECT_DOUBLE_EQ(diagnosis_.formats[0].supervised_share(), 4 / 9.0);
  EXPECT_EQ(diagnosis_.lengths.longest, 5);
  EXPECT_TRUE(ErrorsOf(diagnosis_).ok());
}

TEST_F(DoctorTest, NothingLearnedIsAnErrorOnlyForMost) {
  auto findings = Examine({Document({5, 6, kStop}, 1), Document({5, 7}, 9)});
  EXPECT_EQ(findings.at("no_supervised_tokens").severity, Severity::kWarning);
  EXPECT_THAT(Lines(findings.at("no_supervised_tokens")), ElementsAre(2));
  findings = Examine({Document({5, 6}, 9), Document({5, 7}, 9)});
  EXPECT_EQ(findings.at("no_supervised_tokens").severity, Severity::kError);
  EXPECT_THAT(ErrorsOf(diagnosis_).message(), HasSubstr("data.jsonl:1"));
}

TEST_F(DoctorTest, FindsTwoStartTokens) {
  const auto findings = Examine({Document({kBos, 5, kStop}, 1), Document({kBos, kBos, kStop}, 2)});
  EXPECT_EQ(findings.at("double_bos").severity, Severity::kError);
  EXPECT_THAT(Lines(findings.at("double_bos")), ElementsAre(2));
}

TEST_F(DoctorTest, FindsStopTokensThatAreNotLearned) {
  const EncodedDocument bad = Document({5, 6, 7, kStop}, 1, 0, /*learns_stop=*/false);
  auto findings = Examine({bad, Document({5, 6, kStop}, 1)});
  EXPECT_EQ(findings.at("untrained_stop_token").severity, Severity::kWarning);
  EXPECT_THAT(Lines(findings.at("untrained_stop_token")), ElementsAre(1));
  findings = Examine({bad, Document({5, 6, 8}, 1)});
  EXPECT_EQ(findings.at("untrained_stop_token").severity, Severity::kError);
}

TEST_F(DoctorTest, FindsIdsThatTheModelDoesNotKnow) {
  const auto findings = Examine(
      {Document({5, 99, kStop}, 1), Document({5, 100, kStop}, 1), Document({200, 101, kStop}, 1)});
  EXPECT_EQ(findings.at("token_outside_vocabulary").severity, Severity::kError);
  EXPECT_THAT(Lines(findings.at("token_outside_vocabulary")), ElementsAre(3, 2));
  EXPECT_THAT(findings.at("token_outside_vocabulary").message, HasSubstr("largest here is 200"));
}

TEST_F(DoctorTest, TurnsNotesIntoFindings) {
  const auto findings =
      Examine({Document({5, 6, kStop}, 1, kHistoryRewritten | kNoEndOfTurn),
               Document({5, 7, kStop}, 1, kSpecialInContent | kBoundaryMerged | kRoleOrder),
               Document({5, 8, kStop}, 1, kEmptyAnswer | kToolCallLost | kMessageLost)});
  EXPECT_THAT(Lines(findings.at("unstable_template")), ElementsAre(1));
  EXPECT_THAT(Lines(findings.at("no_end_of_turn")), ElementsAre(1));
  EXPECT_THAT(Lines(findings.at("special_in_content")), ElementsAre(2));
  EXPECT_THAT(Lines(findings.at("unusual_role_order")), ElementsAre(2));
  EXPECT_EQ(findings.at("boundary_merged").severity, Severity::kInfo);
  EXPECT_EQ(findings.at("empty_answer").severity, Severity::kWarning);
  EXPECT_THAT(Lines(findings.at("tool_call_lost")), ElementsAre(3));
  EXPECT_THAT(Lines(findings.at("message_lost")), ElementsAre(3));
  EXPECT_TRUE(ErrorsOf(diagnosis_).ok());
}

TEST_F(DoctorTest, FindsDuplicatesAndOverlap) {
  const EncodedDocument document = Document({5, 6, kStop}, 1);
  const auto validation = Cached({Document({9, 6, kStop}, 1), document});
  input_.validation = validation.get();
  const auto findings = Examine({document, Document({5, 6, kStop}, 2), document, document});
  EXPECT_EQ(findings.at("duplicate_document").count, 2);
  EXPECT_THAT(Lines(findings.at("duplicate_document")), ElementsAre(3, 4));
  EXPECT_EQ(findings.at("validation_overlap").count, 1);
  EXPECT_THAT(Lines(findings.at("validation_overlap")), ElementsAre(2));
}

TEST_F(DoctorTest, SaysWhatTheLengthLimitDoes) {
  input_.length.max_seq_length = 4;
  const std::vector<EncodedDocument> documents = {Document({5, 6, 7, kStop}, 1),
                                                  Document({5, 6, 7, 8, 9, kStop}, 2),
                                                  Document({5, 6, 7, 8, kStop}, 4)};
  auto findings = Examine(documents);
  EXPECT_THAT(Lines(findings.at("too_long")), ElementsAre(2, 3));
  EXPECT_THAT(findings.at("too_long").message, HasSubstr("3 tokens are lost"));
  EXPECT_THAT(Lines(findings.at("answer_cut_off")), ElementsAre(3));
  input_.length.long_documents = LongDocuments::kSplit;
  findings = Examine(documents);
  EXPECT_THAT(findings.at("too_long").message, HasSubstr("are split"));
  EXPECT_EQ(findings.count("answer_cut_off"), 0);
  EXPECT_TRUE(ErrorsOf(diagnosis_).ok());
  input_.length.long_documents = LongDocuments::kRefuse;
  EXPECT_EQ(Examine(documents).at("too_long").severity, Severity::kError);
  input_.length.long_documents = LongDocuments::kDrop;
  EXPECT_EQ(Examine(documents).at("too_long").severity, Severity::kWarning);
  EXPECT_EQ(Examine({documents[1], documents[2]}).at("too_long").severity, Severity::kError);
  input_.length.long_documents = LongDocuments::kTruncate;
  EXPECT_EQ(Examine({documents[2]}).at("answer_cut_off").severity, Severity::kError);
}

TEST_F(DoctorTest, BrokenDocumentsAreErrorsUnlessTheyMayBeSkipped) {
  const auto dataset = Cached({Document({5, 6, kStop}, 1)},
                              {{0, 7, ":7 messages[0]] no prompt"}, {0, 9, ":9] no answer"}});
  input_.dataset = dataset.get();
  const Finding warning = data::Examine(input_).findings.at(0);
  EXPECT_EQ(warning.code, "bad_document");
  EXPECT_EQ(warning.severity, Severity::kWarning);
  EXPECT_EQ(warning.count, 2);
  EXPECT_THAT(Lines(warning), ElementsAre(7, 9));
  EXPECT_THAT(warning.message, HasSubstr("e.g. [data.jsonl:7 messages[0]] no prompt"));
  const auto validation = Cached({Document({5, 7, kStop}, 1)}, {{0, 3, ":3] no question"}});
  input_.validation = validation.get();
  EXPECT_THAT(Lines(data::Examine(input_).findings.at(0)), ElementsAre(7, 9, 3));
  const auto whole = Cached({Document({5, 6, kStop}, 1)});
  input_.dataset = whole.get();
  EXPECT_THAT(data::Examine(input_).findings.at(0).message, HasSubstr("e.g. [data.jsonl:3]"));
  input_.dataset = dataset.get();
  input_.validation = nullptr;
  input_.may_skip = false;
  const data::Diagnosis diagnosis = data::Examine(input_);
  EXPECT_EQ(diagnosis.findings.at(0).severity, Severity::kError);
  EXPECT_THAT(ErrorsOf(diagnosis).message(), HasSubstr("(2 of 3 documents"));
}

TEST_F(DoctorTest, DescribesLengths) {
  std::vector<EncodedDocument> documents = {Document({kStop}, 9)};
  for (int i = 0; i < 20; ++i) documents.push_back(Document({5, 10 + i, kStop}, 1));
  documents.push_back(Document(std::vector<int32_t>(200, 6), 1));
  const auto findings = Examine(documents);
  EXPECT_THAT(Lines(findings.at("long_tail")), ElementsAre(22));
  EXPECT_THAT(Lines(findings.at("empty_document")), ElementsAre(1));
  EXPECT_EQ(diagnosis_.lengths.median, 3);
  ASSERT_EQ(diagnosis_.histogram.size(), 8);
  EXPECT_EQ(diagnosis_.histogram[0].count, 1);
  EXPECT_EQ(diagnosis_.histogram[1].count, 20);
  EXPECT_EQ(diagnosis_.histogram[7].count, 1);
}

TEST_F(DoctorTest, KeepsTheWorstExamples) {
  std::vector<EncodedDocument> documents;
  input_.length.max_seq_length = 2;
  for (int i = 0; i < 100; ++i) {
    documents.push_back(Document(std::vector<int32_t>(3 + (i * 37) % 100, 6), 1));
  }
  const Finding finding = Examine(documents).at("too_long");
  EXPECT_EQ(finding.count, 100);
  ASSERT_EQ(finding.places.size(), kMaxExamples);
  EXPECT_EQ(dataset_->document(finding.places[0].line - 1).num_tokens, 102);
  EXPECT_EQ(dataset_->document(finding.places[19].line - 1).num_tokens, 83);
}

}  // namespace
}  // namespace lockstep::data
