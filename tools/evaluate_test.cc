#include <cmath>

#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tools/testing.h"

namespace lockstep {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class EvaluateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    model_ = FreshFolder("model");
    WriteTinyModel(model_);
    data_ = JoinPath(FreshFolder("data"), "data.jsonl");
    Write(
        "{\"prompt\": \"one\", \"completion\": \" two three\"}\n"
        "{\"prompt\": \"a\", \"completion\": \"\xC3\xA9!\"}\n"
        "{\"prompt\": \"what is four and four?\", \"completion\": \"eight\"}\n");
  }
  void Write(const std::string& text) { ASSERT_TRUE(WriteFileAtomically(data_, text).ok()); }
  ToolResult Evaluate(std::vector<std::string> arguments) {
    arguments.push_back("--model=" + model_);
    arguments.push_back("--device=cpu");
    arguments.push_back("--cache_dir=" + JoinPath(::testing::TempDir(), "cache"));
    return RunTool("evaluate", arguments);
  }
  // The JSON lines of standard output.
  std::vector<json> Lines(const ToolResult& result) {
    EXPECT_EQ(result.exit_code, 0) << result.err;
    std::vector<json> lines;
    for (absl::string_view line : absl::StrSplit(result.out, '\n', absl::SkipEmpty())) {
      lines.push_back(json::parse(line.begin(), line.end()));
    }
    return lines;
  }
  std::string model_, data_;
};

TEST_F(EvaluateTest, TheMeanIsThatOfTheDocuments) {
  const auto lines = Lines(Evaluate({"--validation_file=" + data_, "--per_document"}));
  ASSERT_EQ(lines.size(), 4);
  double sum = 0;
  int64_t supervised = 0;
  const int64_t want[] = {11, 4, 6};  // bytes of the completion, and the end of the text
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(lines[i]["index"], i);
    EXPECT_EQ(lines[i]["supervised_tokens"], want[i]);
    sum += lines[i]["nll"].get<double>();
    supervised += lines[i]["supervised_tokens"].get<int64_t>();
  }
  const double loss = lines[3]["loss"];
  EXPECT_EQ(lines[3]["supervised_tokens"], supervised);
  EXPECT_EQ(lines[3]["documents"], 3);
  EXPECT_DOUBLE_EQ(loss, sum / supervised);
  EXPECT_DOUBLE_EQ(lines[3]["perplexity"].get<double>(), std::exp(loss));
  // Random weights: about as good as guessing among 260 tokens.
  EXPECT_NEAR(loss, std::log(260.0), 1.0);
  EXPECT_EQ(Lines(Evaluate({"--validation_file=" + data_})).size(), 1);
}

TEST_F(EvaluateTest, ADocumentsLossDoesNotDependOnItsNeighbors) {
  const auto all = Lines(Evaluate({"--validation_file=" + data_, "--per_document"}));
  Write("{\"prompt\": \"what is four and four?\", \"completion\": \"eight\"}\n");
  const auto alone = Lines(Evaluate({"--validation_file=" + data_, "--per_document"}));
  EXPECT_NEAR(alone[0]["nll"].get<double>(), all[2]["nll"].get<double>(), 1e-4);
}

TEST_F(EvaluateTest, TheAdapterCounts) {
  const std::string adapter = FreshFolder("adapter");
  WriteTinyAdapter(model_, adapter);
  const auto base = Lines(Evaluate({"--validation_file=" + data_}));
  const auto with = Lines(Evaluate({"--validation_file=" + data_, "--adapter=" + adapter}));
  EXPECT_GT(std::abs(base[0]["loss"].get<double>() - with[0]["loss"].get<double>()), 1e-3);
  // The merged model says the same.
  const std::string merged = JoinPath(FreshFolder("merged"), "model");
  ASSERT_EQ(
      RunTool("merge", {"--model=" + model_, "--adapter=" + adapter, "--output_dir=" + merged})
          .exit_code,
      0);
  model_ = merged;
  const auto after = Lines(Evaluate({"--validation_file=" + data_}));
  EXPECT_NEAR(after[0]["loss"].get<double>(), with[0]["loss"].get<double>(), 1e-5);
}

TEST_F(EvaluateTest, TakesTheTrainersDataFlags) {
  const auto all = Lines(Evaluate({"--validation_file=" + data_, "--loss_on=all"}));
  EXPECT_EQ(all[0]["supervised_tokens"], 3 + 10 + 1 + 3 + 22 + 5);
  const ToolResult cut = Evaluate({"--validation_file=" + data_, "--max_seq_length=10"});
  EXPECT_THAT(cut.err, HasSubstr("documents truncated: 2 to 10 tokens"));
}

TEST_F(EvaluateTest, SaysWhatIsLeftOut) {
  Write(
      "{\"prompt\": \"one\", \"completion\": \" two three\"}\n{broken\n"
      "{\"prompt\": \"one\", \"completion\": \" two three four five six\"}\n");
  const ToolResult result = Evaluate({"--validation_file=" + data_, "--skip_bad_documents",
                                      "--max_seq_length=16", "--long_documents=drop"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("warning: documents dropped as too long: 1 of more than 16"));
  EXPECT_THAT(result.err, HasSubstr("warning: documents skipped as bad: 1\n"));
  EXPECT_THAT(result.err, HasSubstr("note: skipped: [" + data_ + ":2]"));
}

TEST_F(EvaluateTest, SaysWhatIsWrong) {
  EXPECT_THAT(Evaluate({}).err, HasSubstr("[--validation_file]"));
  EXPECT_THAT(Evaluate({"--train_file=" + data_}).err,
              HasSubstr("HINT: --validation_file in place of --train_file"));
  EXPECT_THAT(Evaluate({"--validation_fil=x"}).err, HasSubstr("did you mean --validation_file?"));
  Write("{\"prompt\": \"one\", \"completion\": \n");
  const ToolResult broken = Evaluate({"--validation_file=" + data_});
  EXPECT_EQ(broken.exit_code, 1);
  EXPECT_THAT(broken.err, HasSubstr("data.jsonl:1"));
  EXPECT_EQ(broken.out, "");
}

}  // namespace
}  // namespace lockstep
