// Where what is learned begins and ends, and which special tokens stand around it, with a small
// tokenizer of our own.
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "data/encode.h"
#include "data/tokenizer/small_tokenizer.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_config.h"

namespace lockstep::data {
namespace {

using nlohmann::json;

// <s>, </s> and </s>! are special; with `around`, texts get the first two around them.
std::unique_ptr<Tokenizer> MakeTokenizer(bool around) {
  json settings = SmallTokenizer();
  json tokens = json::object();
  for (const char* content : {"<s>", "</s>", "</s>!"}) {
    const size_t id = settings["model"]["vocab"].size() + settings["added_tokens"].size();
    settings["added_tokens"].push_back(
        {{"id", id}, {"content", content}, {"special", true}, {"normalized", false}});
    tokens[content] = {{"id", content}, {"ids", {id}}, {"tokens", {content}}};
  }
  const auto token = [](const char* id) { return json{{"SpecialToken", {{"id", id}}}}; };
  if (around) {
    settings["post_processor"] = {
        {"type", "TemplateProcessing"},
        {"single", {token("<s>"), {{"Sequence", {{"id", "A"}}}}, token("</s>")}},
        {"special_tokens", tokens}};
  }
  return *Tokenizer::Parse(settings.dump(), "tokenizer.json");
}

// The documents of a line with what is learned in [[ ]].
std::string MarkedOf(const std::string& line, EncodeOptions options, bool around = false) {
  const std::unique_ptr<Tokenizer> tokenizer = MakeTokenizer(around);
  TokenizerConfig config;
  config.bos_token = "<s>";
  config.eos_token = "</s>";
  const auto encoder = DocumentEncoder::Create(tokenizer.get(), config, std::move(options));
  const Format format = *RecognizeFormat(line, {"d.jsonl", 1}, {});
  const auto documents = (*encoder)->Encode(*ParseExample(line, format, {"d.jsonl", 1}, {}));
  if (!documents.ok()) return std::string(documents.status().message());
  std::string out;
  for (const EncodedDocument& document : *documents) {
    if (!out.empty()) out += " & ";
    for (size_t i = 0; i < document.input_ids.size(); ++i) {
      const bool learned = document.supervised[i] != 0;
      if (learned && (i == 0 || document.supervised[i - 1] == 0)) out += "[[";
      out += tokenizer->Decode({document.input_ids[i]}, false);
      const bool last = i + 1 == document.input_ids.size();
      if (learned && (last || document.supervised[i + 1] == 0)) out += "]]";
    }
  }
  return out;
}

std::string MarkedChat(const std::string& messages, const std::string& chat_template,
                       History history = History::kPerTurn) {
  EncodeOptions options;
  options.chat_template = chat_template;
  options.history = history;
  return MarkedOf("{\"messages\": [" + messages + "]}", options);
}

constexpr char kUser[] = R"({"role": "user", "content": "q"}, )";
constexpr char kAnswer[] = R"({"role": "assistant", "content": "a"})";

TEST(EncodeBoundariesTest, ATextHasOneStartTokenOfTheTokenizerAndKeepsItsOwn) {
  EXPECT_EQ(MarkedOf(R"({"text": "hi"})", {}, true), "<s>[[hi</s>]]");
  EXPECT_EQ(MarkedOf(R"({"text": "<s>hi"})", {}, true), "<s>[[hi</s>]]");
  EXPECT_EQ(MarkedOf(R"({"text": "<s><s>hi"})", {}), "<s>[[<s>hi</s>]]");
}

TEST(EncodeBoundariesTest, ACompletionIsLearnedWithItsEndAndEndsOnce) {
  EXPECT_EQ(MarkedOf(R"({"prompt": "q", "completion": "a"})", {}, true), "<s>q[[a</s>]]");
  EXPECT_EQ(MarkedOf(R"({"prompt": "q", "completion": "a"})", {}), "q[[a</s>]]");
  EXPECT_EQ(MarkedOf(R"({"prompt": "q", "completion": "a</s>"})", {}), "q[[a</s>]]");
}

// The turn and the generation prompt part at once, or inside a special token.
TEST(EncodeBoundariesTest, AGenerationPromptThatIsNoBeginningOfTheTurn) {
  const std::string end = "{% endfor %}{% if add_generation_prompt %}";
  EXPECT_EQ(
      MarkedChat(std::string(kUser) + kAnswer,
                 "{% for m in messages %}{{ m.role }}:{{ m.content }};" + end + "> {% endif %}"),
      "user:q;assistant:[[a;]]");
  EXPECT_EQ(MarkedChat(
                std::string(kUser) + kAnswer,
                "{% for m in messages %}<s>{{ m.role }}:{{ m.content }}" + end + "</s>{% endif %}"),
            "<s>user:q<s>assistant:[[a]]");
}

TEST(EncodeBoundariesTest, GenerationBlocksOfUntrainedMessagesAndThoseThatCloseThemselves) {
  const std::string chat = std::string(kUser) +
                           R"({"role": "assistant", "content": "b", "weight": 0}, )" + kUser +
                           kAnswer;
  EXPECT_EQ(
      MarkedChat(chat,
                 "{% for m in messages %}<s>{% if m.role == 'user' %}{{ m.content }}{% else %}"
                 "{% generation %}{{ m.content }}</s>{% endgeneration %}{% endif %}{% endfor %}"),
      "<s>q<s>b</s><s>q<s>[[a</s>]]");
  EXPECT_EQ(
      MarkedChat(std::string(kAnswer) + ", " + kUser + kAnswer,
                 "{% for m in messages %}{% if m.role == 'user' %}<s>{{ m.content }}{% else %}"
                 "{% generation %}{{ m.content }}</s>{% endgeneration %}{% endif %}{% endfor %}"),
      "a[[</s>]]<s>q[[a</s>]]");
}

// Which message a block belongs to is not known here: the generation prompt tells.
TEST(EncodeBoundariesTest, BlocksOfSomeMessagesAndUntrainedOnes) {
  const std::string chat = std::string(kUser) +
                           R"({"role": "assistant", "content": "b", "weight": 0}, )" + kUser +
                           kAnswer;
  EXPECT_EQ(MarkedChat(chat,
                       "{% for m in messages %}{{ m.role }}:{% if loop.index0 == 1 %}"
                       "{% generation %}{{ m.content }};{% endgeneration %}{% else %}"
                       "{{ m.content }};{% endif %}{% endfor %}"
                       "{% if add_generation_prompt %}assistant:{% endif %}"),
            "user:q;assistant:b;user:q;assistant:[[a;]]");
}

TEST(EncodeBoundariesTest, TheLongestSpecialTokenBehindABlockEndsItsTurn) {
  EXPECT_EQ(MarkedChat(std::string(kUser) + kAnswer,
                       "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% else %}"
                       "{% generation %}{{ m.content }}{% endgeneration %}</s>!x{% endif %}"
                       "{% endfor %}"),
            "q[[a</s>!]]x");
}

TEST(EncodeBoundariesTest, SpecialTokensThatAreNormalizedAreFoundAsTheyAreTyped) {
  json settings = SmallTokenizer();
  settings["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", "<"}}}, {"content", "["}};
  settings["added_tokens"].push_back(
      {{"content", "</s>"}, {"special", true}, {"normalized", true}});
  const auto tokenizer = *Tokenizer::Parse(settings.dump(), "tokenizer.json");
  EncodeOptions options;
  options.chat_template =
      "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% else %}"
      "{% generation %}{{ m.content }}{% endgeneration %}</s>{% endif %}{% endfor %}";
  const auto encoder = *DocumentEncoder::Create(tokenizer.get(), {}, options);
  const auto encode = [&](const std::string& messages) {
    return (*encoder->Encode(*ParseExample("{\"messages\": [" + messages + "]}", Format::kMessages,
                                           {"d.jsonl", 1}, {})))[0];
  };
  const EncodedDocument document = encode(std::string(kUser) + kAnswer);
  EXPECT_EQ(document.input_ids.back(), tokenizer->TokenToId("</s>"));
  EXPECT_TRUE(document.supervised.back());
  EXPECT_EQ(document.notes, 0u);
  EXPECT_EQ(encode(std::string(R"({"role": "user", "content": "x</s>"}, )") + kAnswer).notes,
            kSpecialInContent);
}

TEST(EncodeBoundariesTest, TheLastTurnOfARewrittenHistory) {
  const std::string rewriting =
      "{% for m in messages %}{{ m.role }}:{{ m.content if loop.last or m.role == 'user' }};"
      "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
  const std::string chat =
      std::string(kUser) + R"({"role": "assistant", "content": "b"}, )" + kUser + kAnswer;
  EXPECT_EQ(MarkedChat(chat, rewriting),
            "user:q;assistant:[[b;]] & user:q;assistant:;user:q;assistant:[[a;]]");
  EXPECT_EQ(MarkedChat(chat, rewriting, History::kLastTurn),
            "user:q;assistant:;user:q;assistant:[[a;]]");
}

}  // namespace
}  // namespace lockstep::data
