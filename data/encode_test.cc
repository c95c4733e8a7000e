#include "data/encode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "data/tokenizer/shared_tokenizers.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_config.h"

namespace lockstep::data {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

class EncodeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!HaveSharedTokenizers()) GTEST_SKIP() << "the shared tokenizers are not here";
    tokenizer_ = *Tokenizer::Load(UnpackSharedTokenizer("qwen3"), {});
    config_.eos_token = "<|im_end|>";
  }

  static std::string SharedTemplate(const std::string& name) {
    return *ReadFile("external/shared/assets/chat/" + name + ".jinja");
  }

  absl::StatusOr<std::vector<EncodedDocument>> Encode(const std::string& json,
                                                      EncodeOptions options) {
    const SourcePosition source{"d.jsonl", 3};
    const auto format = RecognizeFormat(json, source, {});
    if (!format.ok()) return format.status();
    const auto example = ParseExample(json, *format, source, {});
    if (!example.ok()) return example.status();
    const auto encoder = DocumentEncoder::Create(tokenizer_.get(), config_, std::move(options));
    if (!encoder.ok()) return encoder.status();
    return (*encoder)->Encode(*example);
  }

  // The text with the supervised runs in [[ ]].
  std::string Marked(const EncodedDocument& document) {
    EXPECT_EQ(document.input_ids.size(), document.supervised.size());
    std::string out;
    std::vector<int32_t> run;
    for (size_t i = 0; i <= document.input_ids.size(); ++i) {
      const bool end = i == document.input_ids.size();
      if (!run.empty() && (end || document.supervised[i] != document.supervised[i - 1])) {
        const std::string text = tokenizer_->Decode(run, false);
        out += document.supervised[i - 1] ? "[[" + text + "]]" : text;
        run.clear();
      }
      if (!end) run.push_back(document.input_ids[i]);
    }
    return out;
  }

  std::string MarkedOf(const std::string& json, EncodeOptions options) {
    const auto documents = Encode(json, std::move(options));
    if (!documents.ok()) return std::string(documents.status().message());
    std::string out;
    for (const EncodedDocument& document : *documents) {
      out += (out.empty() ? "" : "\n---\n") + Marked(document);
    }
    return out;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  TokenizerConfig config_;
};

constexpr char kChat[] =
    R"({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo!\n"},
        {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "Ciao"}]})";

EncodeOptions ChatMl() {
  EncodeOptions options;
  options.chat_template = "chatml";
  return options;
}

TEST_F(EncodeTest, AssistantTextAndItsEndOfTurnAreSupervised) {
  EXPECT_EQ(MarkedOf(kChat, ChatMl()),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[[Yo!\n<|im_end|>]]\n"
            "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n[[Ciao<|im_end|>]]\n");
}

TEST_F(EncodeTest, ChatMlTakesTextAloneAndNeverTheNameOfNone) {
  const auto chat = [](const std::string& answer) {
    return R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi "}, "you"]},
                            {"role": "assistant", )" +
           answer + "}]}";
  };
  const std::string prompt = "<|im_start|>user\nHi you<|im_end|>\n<|im_start|>assistant\n[[";
  EXPECT_EQ(MarkedOf(chat(R"("content": null, "tool_calls": [])"), ChatMl()),
            prompt + "<|im_end|>]]\n");
  EXPECT_EQ(MarkedOf(chat(R"("content": [{"type": "text", "text": "a"}])"), ChatMl()),
            prompt + "a<|im_end|>]]\n");
  EXPECT_THAT(MarkedOf(chat(R"("content": [{"type": "refusal"}])"), ChatMl()),
              HasSubstr("no form for a part"));
  EXPECT_THAT(
      MarkedOf(chat(R"("content": "", "tool_calls": [{"function": {"name": "f"}}])"), ChatMl()),
      HasSubstr("no form for tool calls"));
}

// As the shared Phi-3 tokenizer's template does.
TEST_F(EncodeTest, WhatEndsAConversationEndsNoTurnWithin) {
  config_.strings = {{"eos_token", "<|endoftext|>"}};
  EncodeOptions options;
  options.chat_template =
      "{% for m in messages %}<|im_start|>{{ m.role + '\n' + m.content }}<|im_end|>{{ '\n' }}"
      "{% endfor %}{{ '<|im_start|>assistant\n' if add_generation_prompt else eos_token }}";
  options.history = History::kStrict;
  EXPECT_EQ(MarkedOf(kChat, options),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[[Yo!\n<|im_end|>]]\n"
            "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
            "[[Ciao<|im_end|>\n<|endoftext|>]]");
}

// A tool's answer stands otherwise where it is the last message, so that no generation prompt is a
// prefix.
TEST_F(EncodeTest, ATurnWhosePromptIsRewrittenIsWhatChangesWithIt) {
  EncodeOptions options;
  options.chat_template =
      "{% for m in messages %}<|im_start|>{{ m.role + '\n' + m.content }}"
      "{{ '\n' if m.role == 'tool' and not loop.last }}<|im_end|>{{ '\n' }}{% endfor %}"
      "{{ '<|im_start|>assistant\n' if add_generation_prompt }}";
  const std::string chat =
      R"({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "call"},
          {"role": "tool", "content": "1"}, {"role": "assistant", "content": "y"}]})";
  const std::string first = "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n";
  EXPECT_EQ(MarkedOf(chat, options),
            first + "[[call<|im_end|>]]\n\n---\n" + first +
                "call<|im_end|>\n<|im_start|>tool\n1\n<|im_end|>\n<|im_start|>assistant\n"
                "[[y<|im_end|>]]\n");
  EXPECT_TRUE((*Encode(chat, options))[1].notes & kHistoryRewritten);
}

// Tool calls and missing content come as the template can take them.
TEST_F(EncodeTest, MessagesComeInAFormThatTheTemplateKnows) {
  const std::string chat =
      R"({"messages": [{"role": "user", "content": "x"},
          {"role": "assistant", CONTENT "tool_calls": [{"function": {"name": "f", "arguments":
              ARGUMENTS}}]}]})";
  const auto learned = [&](const char* print, const char* content, const char* arguments) {
    EncodeOptions options;
    options.chat_template = absl::StrReplaceAll(
        "{% for m in messages %}<|im_start|>{% for c in m.tool_calls or [] %}{{ PRINT }}"
        "{% endfor %}<|im_end|>{% endfor %}{{ '<|im_start|>' if add_generation_prompt }}",
        {{"PRINT", print}});
    return MarkedOf(absl::StrReplaceAll(chat, {{"CONTENT", content}, {"ARGUMENTS", arguments}}),
                    options);
  };
  const std::string before = "<|im_start|><|im_end|><|im_start|>[[";
  constexpr char kText[] = R"("{\"a\":1}")", kObject[] = R"({"a": 1})";
  for (const char* content : {"", R"("content": null,)", R"("content": "",)"}) {
    for (const char* arguments : {kText, kObject}) {
      EXPECT_EQ(learned("c.function.arguments | tojson", content, arguments),
                before + R"({"a": 1}<|im_end|>]])");
      EXPECT_EQ(learned("c.function.arguments['a']", content, arguments), before + "1<|im_end|>]]");
      EXPECT_EQ(learned("(m.content + '!') ~ c.function.arguments.a", content, arguments),
                before + "!1<|im_end|>]]");
    }
    // The text is the file's own.
    EXPECT_EQ(learned("'=' + c.function.arguments", content, kText),
              before + R"(={"a":1}<|im_end|>]])");
    EXPECT_EQ(learned("m.content + c.function.arguments", content, kObject),
              before + R"({"a": 1}<|im_end|>]])");
  }
  for (const char* content : {"", R"("content": null,)"}) {
    EXPECT_EQ(learned("'[' ~ m.content ~ ']'", content, kText), before + "[]<|im_end|>]]");
    EXPECT_EQ(learned("m.content | tojson", content, kText), before + "\"\"<|im_end|>]]");
    EXPECT_EQ(learned("m.content is none ~ 'None'", R"("content": null,)", kText),
              before + "TrueNone<|im_end|>]]");
  }
  EXPECT_THAT(learned("raise_exception('no')", R"("content": null,)", kText), HasSubstr("no"));
  EXPECT_THAT(learned("(m.content + 'x') ~ raise_exception('no')", R"("content": null,)", kText),
              HasSubstr("no"));
}

// A template that knows strings alone gets one; one that knows parts gets them.
TEST_F(EncodeTest, PartsOfTextReachEveryTemplate) {
  const std::string chat =
      R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, "b"]},
                       {"role": "assistant", "content": [{"type": "text", "text": "c"}]}]})";
  EncodeOptions options;
  for (const char* form :
       {"{{ m.content }}", "{% if m.content is string %}{{ m.content }}{% endif %}"}) {
    options.chat_template = absl::StrCat("{% for m in messages %}", form, "<|im_end|>{% endfor %}");
    EXPECT_EQ(MarkedOf(chat, options), "ab<|im_end|>[[c<|im_end|>]]");
  }
  options.chat_template =
      "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
      "{% for p in m.content %}{{ loop.index0 or '' }}{{ p.text or p }}{% endfor %}{% endif %}"
      "<|im_end|>{% endfor %}";
  EXPECT_EQ(MarkedOf(chat, options), "a1b<|im_end|>[[c<|im_end|>]]");
  // One that knows them of users alone.
  options.chat_template =
      "{% for m in messages %}{% if m.role == 'user' and m.content is not string %}"
      "{% for p in m.content %}{{ loop.index0 or '' }}{{ p.text or p }}{% endfor %}{% else %}"
      "{{ m.content }}{% endif %}<|im_end|>{% endfor %}";
  EXPECT_EQ(MarkedOf(chat, options), "ab<|im_end|>[[c<|im_end|>]]");
}

TEST_F(EncodeTest, UntrainedMessagesAndLossOnAll) {
  std::string json = kChat;
  json.replace(json.find("\"Yo!\\n\""), 7, "\"Yo\", \"train\": false");
  EXPECT_EQ(MarkedOf(json, ChatMl()),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n"
            "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n[[Ciao<|im_end|>]]\n");
  EncodeOptions all = ChatMl();
  all.loss_on = LossOn::kAll;
  EXPECT_THAT(MarkedOf(kChat, all), HasSubstr("<|im_start|>[[user\nHi<|im_end|>\n"));
}

TEST_F(EncodeTest, TextsEndWithTheModelsTokenWhereTheTokenizerNamesNone) {
  const std::string pair = R"({"prompt": "a", "completion": " b"})";
  EXPECT_EQ(MarkedOf(pair, {}), "a[[ b<|im_end|>]]");
  config_.eos_token.reset();
  EXPECT_EQ(MarkedOf(pair, {}), "a[[ b]]");
  EXPECT_TRUE((*Encode(pair, {}))[0].notes & kNoEndOfTurn);
  EncodeOptions options;
  options.eos_token_id = tokenizer_->TokenToId("<|endoftext|>");
  EXPECT_EQ(MarkedOf(pair, options), "a[[ b<|endoftext|>]]");
  EXPECT_FALSE((*Encode(pair, options))[0].notes & kNoEndOfTurn);
  config_.eos_token = "<no such token>";
  EXPECT_EQ(MarkedOf(R"({"text": "a b"})", options), "a[[ b<|endoftext|>]]");
}

TEST_F(EncodeTest, ChatsWithToolsTakeTheTemplateForTools) {
  const std::string turns =
      "{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}";
  config_.chat_templates = {{"default", turns},
                            {"tool_use", "{{ tools | length }} tool. " + turns}};
  EXPECT_THAT(MarkedOf(kChat, {}), ::testing::StartsWith("user: Hi"));
  const std::string with_tools = std::string(kChat, sizeof(kChat) - 2) +
                                 R"(, "tools": [{"type": "function", "function": {"name": "f"}}]})";
  EXPECT_THAT(MarkedOf(with_tools, {}), ::testing::StartsWith("1 tool. user: Hi"));
  EXPECT_THAT(MarkedOf(with_tools, ChatMl()), ::testing::StartsWith("<|im_start|>user"));
}

TEST_F(EncodeTest, GenerationBlocksDecideWhereTheTemplateHasThem) {
  EncodeOptions options;
  options.chat_template =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
      "{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}"
      "{{ '<|im_end|>' }}{% endfor %}";
  EXPECT_EQ(MarkedOf(R"({"messages": [{"role": "user", "content": "Hi"},
                         {"role": "assistant", "content": "Yo"}, {"role": "user", "content": "x"}]})",
                     options),
            "<|im_start|>user\nHi<|im_end|><|im_start|>assistant\n[[Yo<|im_end|>]]"
            "<|im_start|>user\nx<|im_end|>");
}

TEST_F(EncodeTest, ATemplateThatRewritesHistory) {
  const std::string json =
      R"({"messages": [{"role": "user", "content": "1+1"},
          {"role": "assistant", "content": "<think>\nsum\n</think>\n\n2"},
          {"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}]})";
  EncodeOptions options;
  options.chat_template = SharedTemplate("qwen3");
  const auto documents = Encode(json, options);
  ASSERT_TRUE(documents.ok()) << documents.status();
  ASSERT_EQ(documents->size(), 2u);
  EXPECT_TRUE((*documents)[0].notes & kHistoryRewritten);
  // Its generation prompt opens the thinking, so that is given and not learned.
  EXPECT_EQ(Marked((*documents)[0]),
            "<|im_start|>user\n1+1<|im_end|>\n<|im_start|>assistant\n"
            "<think>\n[[sum\n</think>\n\n2<|im_end|>]]\n");
  EXPECT_THAT(Marked((*documents)[1]),
              HasSubstr("<|im_start|>assistant\n2<|im_end|>\n<|im_start|>user\n2+2<|im_end|>\n"
                        "<|im_start|>assistant\n<think>\n\n[[</think>\n\n4<|im_end|>]]"));
  options.history = History::kLastTurn;
  EXPECT_EQ(Encode(json, options)->size(), 1u);
  options.history = History::kStrict;
  EXPECT_THAT(MarkedOf(json, options), HasSubstr("[d.jsonl:3] the chat template rewrites"));
}

// Conversations of ShareGPT often begin with the assistant. Qwen2.5's template has no text without
// a first message, Llama 3's begins with BOS there and not before a generation prompt.
TEST_F(EncodeTest, TheAssistantMayBegin) {
  const std::string json =
      R"({"messages": [{"role": "assistant", "content": "Hi!"}, {"role": "user", "content": "1"},
          {"role": "assistant", "content": "2"}]})";
  EncodeOptions options;
  options.chat_template = SharedTemplate("qwen_25");
  EXPECT_THAT(MarkedOf(json, options),
              ::testing::EndsWith("<|im_end|>\n<|im_start|>assistant\n[[Hi!<|im_end|>]]\n"
                                  "<|im_start|>user\n1<|im_end|>\n"
                                  "<|im_start|>assistant\n[[2<|im_end|>]]\n"));
  options.chat_template =
      "{% for m in messages %}{{ '<|endoftext|>' if loop.first }}{{ '<|im_start|>' + m.role + '\n' "
      "+ "
      "m.content + '<|im_end|>' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
  EXPECT_EQ(MarkedOf(json, options),
            "<|endoftext|><|im_start|>assistant\n[[Hi!<|im_end|>]]<|im_start|>user\n1<|im_end|>"
            "<|im_start|>assistant\n[[2<|im_end|>]]");
}

// The first template of Llama 3 put the header of an answer behind every conversation; that of
// Llama 2 has none at all.
TEST_F(EncodeTest, TemplatesWithoutAGenerationPrompt) {
  EncodeOptions options;
  options.chat_template =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ '\n' + m.content }}<|im_end|>{% endfor "
      "%}"
      "<|im_start|>assistant\n{{ '\n' }}";
  EXPECT_EQ(MarkedOf(kChat, options),
            "<|im_start|>user\n\nHi<|im_end|><|im_start|>assistant\n\n[[Yo!\n<|im_end|>]]"
            "<|im_start|>user\n\nBye<|im_end|><|im_start|>assistant\n\n[[Ciao<|im_end|>]]"
            "<|im_start|>assistant\n\n");
  options.chat_template =
      "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} "
      "{{ m.content | trim }} <|im_end|>{% endif %}{% endfor %}";
  EXPECT_EQ(MarkedOf(kChat, options),
            "[INST] Hi [/INST][[ Yo! <|im_end|>]][INST] Bye [/INST][[ Ciao <|im_end|>]]");
}

TEST_F(EncodeTest, PromptAndCompletionAreJoinedAsTheyAre) {
  EXPECT_EQ(MarkedOf(R"({"prompt": "The sky is", "completion": " blue"})", {}),
            "The sky is[[ blue<|im_end|>]]");
  const auto merged = Encode(R"({"prompt": "The sk", "completion": "y is blue"})", {});
  EXPECT_TRUE((*merged)[0].notes & kBoundaryMerged);
  EXPECT_EQ(Marked((*merged)[0]), "The sky[[ is blue<|im_end|>]]");
}

// Qwen3's NFC takes U+0344 apart, which does not make it a part of the line break before it.
TEST_F(EncodeTest, AnAnswerMayBeginWithAMark) {
  EXPECT_EQ(MarkedOf("{\"question\": \"q\", \"answer\": \"\\u0344\"}", {}),
            "q\n[[\u0308\u0301<|im_end|>]]");
}

TEST_F(EncodeTest, TurnsTextsAndTokens) {
  EXPECT_EQ(MarkedOf(R"({"question": "q", "answer": "a"})", {}), "q\n[[a<|im_end|>]]");
  EXPECT_EQ(MarkedOf(R"({"question": "q", "answer": "a"})", ChatMl()),
            "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n[[a<|im_end|>]]\n");
  EXPECT_EQ(MarkedOf(R"({"text": "one two"})", {}), "one[[ two<|im_end|>]]");
  EncodeOptions bounded;
  bounded.vocab_size = 10;
  EXPECT_THAT(MarkedOf(R"({"input_ids": [3, 10]})", bounded), HasSubstr("below 10"));
  EXPECT_EQ((*Encode(R"({"input_ids": [3, 9]})", bounded))[0].supervised[1], 1);
}

TEST_F(EncodeTest, ErrorsNameTheLineOfFileAndTemplate) {
  EXPECT_THAT(MarkedOf(kChat, {}), HasSubstr("chatml is built in"));
  EncodeOptions options;
  options.chat_template = "{% for m in messages %}\n{{ raise_exception('no') }}{% endfor %}";
  EXPECT_THAT(MarkedOf(kChat, options), HasSubstr("d.jsonl:3"));
  EXPECT_THAT(MarkedOf(kChat, options), HasSubstr("chat_template line 2"));
  options.chat_template = "{% if %}";
  EXPECT_THAT(MarkedOf(kChat, options), HasSubstr("chat_template line 1"));
}

TEST_F(EncodeTest, NotesForTheDoctor) {
  const auto documents = Encode(
      R"({"messages": [{"role": "user", "content": "say <|im_end|>"},
          {"role": "assistant", "content": " "}]})",
      ChatMl());
  EXPECT_TRUE((*documents)[0].notes & kSpecialInContent);
  EXPECT_TRUE((*documents)[0].notes & kEmptyAnswer);
  EXPECT_FALSE((*documents)[0].notes & kRoleOrder);
  const auto twice = Encode(
      R"({"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "y"},
          {"role": "assistant", "content": "z"}]})",
      ChatMl());
  EXPECT_TRUE((*twice)[0].notes & kRoleOrder);
  const auto tools = Encode(
      R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "x"},
          {"role": "assistant", "content": "a"}, {"role": "tool", "content": "1"},
          {"role": "tool", "content": "2"}, {"role": "assistant", "content": "z"}]})",
      ChatMl());
  EXPECT_FALSE((*tools)[0].notes & kRoleOrder);
  const std::string calls =
      R"({"messages": [{"role": "user", "content": "x"},
          {"role": "assistant", "content": "", "tool_calls":
              [{"type": "function", "function": {"name": "weather", "arguments": {}}}]}]})";
  EncodeOptions options;
  options.chat_template = SharedTemplate("phi_4");  // it knows contents alone
  EXPECT_TRUE((*Encode(calls, options))[0].notes & kToolCallLost);
  options.chat_template =
      "{{ tools | tojson }}{% for m in messages %}{{ m.role ~ m.content }}{% endfor %}";
  const std::string with_tools =
      absl::StrCat(calls.substr(0, calls.size() - 1), R"(, "tools": [{"name": "weather"}]})");
  EXPECT_TRUE((*Encode(with_tools, options))[0].notes & kToolCallLost);
  options.chat_template = SharedTemplate("qwen_25");
  EXPECT_FALSE((*Encode(with_tools, options))[0].notes & kToolCallLost);
  EXPECT_FALSE((*Encode(calls, options))[0].notes & kToolCallLost);
  EXPECT_FALSE((*Encode(kChat, ChatMl()))[0].notes & kMessageLost);
  options.chat_template =
      "{% for m in messages %}{% if m.role != 'developer' %}{{ m.content | tojson }}{% endif %}"
      "{% endfor %}";
  const std::string lost =
      R"({"messages": [{"role": "ROLE", "content": "Be\nkind \"now\""},
                       {"role": "assistant", "content": "ok"}]})";
  const auto with_role = [&](const char* role) {
    return absl::StrReplaceAll(lost, {{"ROLE", role}});
  };
  EXPECT_TRUE((*Encode(with_role("developer"), options))[0].notes & kMessageLost);
  EXPECT_FALSE((*Encode(with_role("user"), options))[0].notes & kMessageLost);
  const std::string thinking =
      R"({"messages": [{"role": "user", "content": "x"},
                       {"role": "assistant", "content": "y", "reasoning_content": "thus"}END]})";
  const auto ended_by = [&](const char* end) {
    return absl::StrReplaceAll(thinking, {{"END", end}});
  };
  const auto loses = [&](const std::string& json) {
    return ((*Encode(json, options))[0].notes & kMessageLost) != 0;
  };
  EXPECT_TRUE(loses(ended_by("")));
  EXPECT_FALSE(loses(ended_by(R"(, {"role": "developer", "content": "z"})")));
  options.chat_template = SharedTemplate("qwen3");
  EXPECT_FALSE(loses(ended_by("")));
  const auto silent = Encode(R"({"messages": [{"role": "user", "content": "x"}]})", ChatMl());
  EXPECT_THAT((*silent)[0].supervised, Each(0));
}

}  // namespace
}  // namespace lockstep::data
