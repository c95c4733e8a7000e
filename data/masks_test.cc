// Which tokens of real conversations are learned, over the shared templates, tokenizers and data
// sets: every trained answer whole, with the token that ends its turn where tokenizer and template
// belong together, and nothing that a user wrote.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "data/document_source.h"
#include "data/encode.h"
#include "data/examples.h"
#include "data/tokenizer/shared_tokenizers.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_config.h"

namespace lockstep::data {
namespace {

constexpr int kSample = 25;  // documents of each data set, spread over it

struct Case {
  const char* tokenizer;
  const char* chat_template;
  const char* end_of_turn;  // "": the two do not belong together
  std::string Name() const { return absl::StrCat(tokenizer, "_", chat_template); }
};

constexpr const char* kTokenizers[] = {"llama3_1", "qwen3", "gemma3", "phi3", "minimind"};
constexpr const char* kTemplates[] = {"chatml", "gemma3", "llama3", "mistral_v7_tekken",
                                      "phi_4",  "qwen3",  "qwen_25"};

// The pairs that belong together: there each mark of the template is a token.
constexpr Case kPairs[] = {
    {"qwen3", "qwen3", "<|im_end|>"},      {"qwen3", "qwen_25", "<|im_end|>"},
    {"qwen3", "chatml", "<|im_end|>"},     {"llama3_1", "llama3", "<|eot_id|>"},
    {"gemma3", "gemma3", "<end_of_turn>"}, {"minimind", "chatml", "<|im_end|>"},
};

// Every tokenizer with every template, but for one that has no start token and one that adds it to
// a text: jinja2 refuses that too.
std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const char* tokenizer : kTokenizers) {
    for (const char* chat_template : kTemplates) {
      const auto* pair = std::find_if(std::begin(kPairs), std::end(kPairs), [&](const Case& one) {
        return absl::string_view(one.tokenizer) == tokenizer &&
               absl::string_view(one.chat_template) == chat_template;
      });
      const Case any{tokenizer, chat_template, ""};
      if (any.Name() != "qwen3_llama3") cases.push_back(pair != std::end(kPairs) ? *pair : any);
    }
  }
  return cases;
}

// Spread over the file.
std::vector<Example> Sample(const std::string& name) {
  const std::string path = "external/shared/assets/datasets/" + name;
  const auto source = DocumentSource::Open(path);
  EXPECT_TRUE(source.ok()) << source.status();
  const auto raw = (*source)->NextBatch(size_t{1} << 30);
  EXPECT_TRUE(raw.ok()) << raw.status();
  std::vector<Example> examples;
  const size_t stride = std::max<size_t>(1, raw->size() / kSample);
  for (size_t i = 0; i < raw->size(); i += stride) {
    const SourcePosition position{name, (*raw)[i].line};
    const auto format = RecognizeFormat((*raw)[i].text, position, {});
    EXPECT_TRUE(format.ok()) << format.status();
    auto example = ParseExample((*raw)[i].text, *format, position, {});
    EXPECT_TRUE(example.ok()) << example.status();
    examples.push_back(*std::move(example));
  }
  return examples;
}

const ChatExample& ChatOf(const Example& example) {
  const auto* turn = std::get_if<TurnExample>(&example.content);
  return turn != nullptr ? turn->chat : std::get<ChatExample>(example.content);
}

// Text of the trained answers in order.
std::vector<std::string> Answers(const ChatExample& chat) {
  std::vector<std::string> answers;
  const auto& messages = chat.messages.items();
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!chat.trained[i] || messages[i].Find("role")->str() != "assistant") continue;
    const auto* content = messages[i].Find("content");
    const bool is_text = content != nullptr && content->is_string();
    answers.push_back(is_text ? std::string(absl::StripAsciiWhitespace(content->str())) : "");
  }
  return answers;
}

// Runs of supervised tokens.
std::vector<std::vector<int32_t>> Runs(const EncodedDocument& document) {
  std::vector<std::vector<int32_t>> runs;
  for (size_t i = 0; i < document.input_ids.size(); ++i) {
    if (document.supervised[i] == 0) continue;
    if (i == 0 || document.supervised[i - 1] == 0) runs.emplace_back();
    runs.back().push_back(document.input_ids[i]);
  }
  return runs;
}

class MasksTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!HaveSharedTokenizers()) GTEST_SKIP() << "the shared tokenizers are not here";
    const std::string path = UnpackSharedTokenizer(GetParam().tokenizer);
    tokenizer_ = *Tokenizer::Load(path, {});
    const auto config = ReadTokenizerConfig(path.substr(0, path.rfind('/')));
    ASSERT_TRUE(config.ok()) << config.status();
    EncodeOptions options;
    options.template_date = "2026-11-22";
    options.chat_template =
        *ReadFile(absl::StrCat("external/shared/assets/chat/", GetParam().chat_template, ".jinja"));
    if (config->bos_token) bos_ = tokenizer_->TokenToId(*config->bos_token);
    encoder_ = *DocumentEncoder::Create(tokenizer_.get(), *config, options);
  }

  void Check(const Example& example, const std::vector<EncodedDocument>& documents) {
    std::vector<std::vector<int32_t>> runs;
    uint32_t notes = 0;
    for (const EncodedDocument& document : documents) {
      notes |= document.notes;
      ASSERT_EQ(document.supervised.size(), document.input_ids.size());
      EXPECT_EQ(document.supervised[0], 0);
      EXPECT_FALSE(bos_ && document.input_ids[0] == *bos_ && document.input_ids[1] == *bos_);
      for (auto& run : Runs(document)) runs.push_back(std::move(run));
    }
    const std::vector<std::string> answers = Answers(ChatOf(example));
    ASSERT_EQ(runs.size(), answers.size());
    // Where the template's marks are special tokens nothing merges with them; where they are mere
    // text, an answer's first characters may be in a token that began before it.
    const bool merged = (notes & kBoundaryMerged) != 0;
    EXPECT_FALSE(merged && *GetParam().end_of_turn != '\0');
    for (size_t i = 0; i < runs.size(); ++i) {
      CheckAnswer(runs[i],
                  merged ? answers[i].substr(std::min<size_t>(8, answers[i].size())) : answers[i]);
    }
  }

  // The answer, perhaps an empty block of thinking before it, and the end of the turn.
  void CheckAnswer(const std::vector<int32_t>& run, const std::string& answer) {
    const std::string text = tokenizer_->Decode(run, false);
    EXPECT_NE(text.find(answer), std::string::npos) << text << "\nlacks\n" << answer;
    EXPECT_LE(text.size(), answer.size() + 40) << text << "\nis more than\n" << answer;
    const std::string end_of_turn = GetParam().end_of_turn;
    if (end_of_turn.empty()) return;
    EXPECT_EQ(run.back(), tokenizer_->TokenToId(end_of_turn).value_or(-1)) << text;
    EXPECT_EQ(std::count(run.begin(), run.end(), run.back()), 1) << text;
  }

  std::unique_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<const DocumentEncoder> encoder_;
  std::optional<int32_t> bos_;
};

TEST_P(MasksTest, AnswersAreLearnedAndNothingElse) {
  for (const char* name : {"messages_500.jsonl", "sharegpt_dummy_conversation.json",
                           "alpaca_en_demo.json", "gsm8k_train.jsonl"}) {
    const std::vector<Example> examples = Sample(name);
    int encoded = 0;
    for (const Example& example : examples) {
      SCOPED_TRACE(absl::StrCat(example.source.file, ":", example.source.line));
      const auto documents = encoder_->Encode(example);
      if (!documents.ok()) continue;  // the template's own refusal, of a role or an order
      ++encoded;
      Check(example, *documents);
      if (HasFatalFailure()) return;
    }
    EXPECT_GE(2 * encoded, static_cast<int>(examples.size())) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Shared, MasksTest, ::testing::ValuesIn(AllCases()),
                         [](const auto& info) { return info.param.Name(); });

}  // namespace
}  // namespace lockstep::data
