// What is learned of a conversation, whatever its template does with it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "data/encode.h"
#include "data/encode_testing.h"

namespace lockstep::data {
namespace {

using ::testing::HasSubstr;

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

}  // namespace
}  // namespace lockstep::data
