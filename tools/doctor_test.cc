#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
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
using ::testing::Not;

constexpr char kChat[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}, "
    "{\"role\": \"assistant\", \"content\": \"hello\"}]}\n";

class DoctorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    model_ = FreshFolder("model");
    WriteTinyModel(model_);
    data_ = JoinPath(FreshFolder("data"), "data.jsonl");
  }
  ToolResult Doctor(const std::string& documents, std::vector<std::string> arguments) {
    EXPECT_TRUE(WriteFileAtomically(data_, documents).ok());
    arguments.push_back("--model=" + model_);
    arguments.push_back("--train_file=" + data_);
    arguments.push_back("--cache_dir=" + JoinPath(::testing::TempDir(), "cache"));
    return RunTool("doctor", arguments);
  }
  json Report(const ToolResult& result) { return json::parse(result.out); }
  // The finding of this code, or null.
  json Find(const json& report, const std::string& code) {
    for (const json& finding : report["findings"]) {
      if (finding["code"] == code) return finding;
    }
    return json();
  }
  std::string model_, data_;
};

TEST_F(DoctorTest, HealthyChats) {
  const ToolResult result = Doctor(kChat, {"--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const json report = Report(result);
  EXPECT_EQ(report["documents"], 1);
  EXPECT_EQ(report["tokens"], 1 + 5 + 2 + 1 + 1 + 1 + 10 + 5 + 1 + 1);
  EXPECT_EQ(report["supervised_tokens"], 6);  // hello, and the end of the turn
  EXPECT_TRUE(report["findings"].empty()) << report;
  EXPECT_EQ(report["formats"][0]["name"], "messages");
  EXPECT_EQ(report["formats"][0]["supervised_tokens"], 6);
}

TEST_F(DoctorTest, ADocumentDoesNotCommandTheTerminal) {
  const ToolResult result = Doctor("{\"text\": \"a\\u001b[2Jb\\u0001\"}\n", {"--color=never"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("␛[2Jb␁"));
  EXPECT_THAT(result.out, Not(HasSubstr("\x1b")));
}

TEST_F(DoctorTest, FindingsNameTheirLines) {
  const std::string special =
      "{\"messages\": [{\"role\": \"user\", \"content\": \"a <|im_end|> b\"}, "
      "{\"role\": \"assistant\", \"content\": \"\"}]}\n";
  const ToolResult result = Doctor(absl::StrCat(kChat, special, kChat), {"--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const json report = Report(result);
  EXPECT_EQ(Find(report, "duplicate_document")["lines"], json({3}));
  EXPECT_EQ(Find(report, "special_in_content")["lines"], json({2}));
  EXPECT_EQ(Find(report, "empty_answer")["count"], 1);
  EXPECT_EQ(Find(report, "empty_answer")["severity"], "warning");
}

TEST_F(DoctorTest, ErrorsEndWithOne) {
  const std::string masked = "{\"input_ids\": [5, 6, 7], \"labels\": [-100, -100, -100]}\n";
  const ToolResult nothing = Doctor(masked, {"--json"});
  EXPECT_EQ(nothing.exit_code, 1);
  EXPECT_EQ(Find(Report(nothing), "no_supervised_tokens")["severity"], "error");
  EXPECT_THAT(nothing.err, HasSubstr("data.jsonl:1"));

  const std::string untrained = "{\"input_ids\": [5, 6, 7, 3], \"labels\": [-100, 6, 7, -100]}\n";
  EXPECT_EQ(Find(Report(Doctor(untrained, {"--json"})), "untrained_stop_token")["severity"],
            "error");
  const std::string twice = "{\"input_ids\": [0, 0, 7, 3]}\n";
  EXPECT_EQ(Find(Report(Doctor(twice, {"--json"})), "double_bos")["severity"], "error");
}

TEST_F(DoctorTest, ListsAllBrokenDocuments) {
  const std::string bad = "{\"messages\": 7}\n";
  const ToolResult result = Doctor(absl::StrCat(kChat, bad, kChat, bad), {"--json"});
  EXPECT_EQ(result.exit_code, 1);
  const json finding = Find(Report(result), "bad_document");
  EXPECT_EQ(finding["severity"], "error");
  EXPECT_EQ(finding["lines"], json({2, 4}));
  const ToolResult skipping = Doctor(absl::StrCat(kChat, bad), {"--json", "--skip_bad_documents"});
  EXPECT_EQ(skipping.exit_code, 0) << skipping.err;
  EXPECT_EQ(Find(Report(skipping), "bad_document")["severity"], "warning");
}

TEST_F(DoctorTest, MarksWhatIsLearned) {
  const ToolResult plain = Doctor(kChat, {});
  EXPECT_THAT(plain.out, HasSubstr("<|im_start|>assistant\n«hello<|im_end|>»"));
  EXPECT_THAT(plain.out, HasSubstr("no findings"));
  EXPECT_THAT(Doctor(kChat, {"--color=always"}).out, HasSubstr("\x1b[42;30mhello"));
}

// A run of byte tokens becomes text as a whole; the marks stand between the tokens all the same.
TEST_F(DoctorTest, MarksStandWhereByteTokensDo) {
  json file = json::parse(*ReadFile(JoinPath(model_, "tokenizer.json")));
  json vocab = json::object();
  for (const json& token : file["added_tokens"]) vocab[token["content"]] = token["id"];
  for (int byte = 0; byte < 256; ++byte) vocab[absl::StrFormat("<0x%02X>", byte)] = vocab.size();
  file["model"]["vocab"] = vocab;
  file["model"]["byte_fallback"] = true;
  file["pre_tokenizer"] = nullptr;
  file["decoder"] = {{"type", "ByteFallback"}};
  ASSERT_TRUE(WriteFileAtomically(JoinPath(model_, "tokenizer.json"), file.dump()).ok());
  EXPECT_THAT(Doctor(kChat, {}).out, HasSubstr("<|im_start|>assistant\n«hello<|im_end|>»\n"));
  EXPECT_THAT(Doctor("{\"prompt\": \"a\", \"completion\": \"é!\"}\n", {}).out,
              HasSubstr("a«é!<|im_end|>»"));
}

TEST_F(DoctorTest, WritesAPage) {
  const std::string page = JoinPath(FreshFolder("page"), "doctor.html");
  EXPECT_EQ(Doctor(absl::StrCat(kChat, kChat), {"--html=" + page}).exit_code, 0);
  const std::string html = *ReadFile(page);
  EXPECT_THAT(html, HasSubstr("<svg"));
  EXPECT_THAT(html, HasSubstr("duplicate_document"));
  EXPECT_THAT(html, HasSubstr("<mark>hello&lt;|im_end|&gt;</mark>"));
  EXPECT_THAT(html, Not(HasSubstr("http")));
}

TEST_F(DoctorTest, SaysWhatIsWrong) {
  EXPECT_THAT(RunTool("doctor", {"--model=" + model_}).err, HasSubstr("[--train_file]"));
  EXPECT_THAT(Doctor(kChat, {"--jsn"}).err, HasSubstr("did you mean --json?"));
  EXPECT_THAT(Doctor("", {}).err, HasSubstr("data.jsonl"));
}

}  // namespace
}  // namespace lockstep
