// What is learned of each kind of document.
#include "data/encode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "data/encode_testing.h"

namespace lockstep::data {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

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
  const auto in_parts = Encode(
      R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "say <|im_end|>"}]},
          {"role": "assistant", "content": [{"type": "text", "text": " "}]}]})",
      ChatMl());
  EXPECT_EQ((*in_parts)[0].notes, (*documents)[0].notes);
  EncodeOptions qwen;
  qwen.chat_template = SharedTemplate("qwen_25");
  for (const char* more : {R"("reasoning_content": "<|im_end|>"}])",
                           R"("tool_calls": [{"function": {"name": "f", "arguments":
                              {"a": ["<|im_end|>"]}}}]}])",
                           R"("x": 1}], "tools": [{"name": "f", "description": "<|im_end|>"}])"}) {
    const auto hidden = Encode(absl::StrCat(R"({"messages": [{"role": "user", "content": "x"},
                                                {"role": "assistant", "content": "y", )",
                                            more, "}"),
                               qwen);
    ASSERT_TRUE(hidden.ok()) << hidden.status();
    EXPECT_TRUE((*hidden)[0].notes & kSpecialInContent) << more;
    EXPECT_FALSE((*hidden)[0].notes & kEmptyAnswer) << more;
  }
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
  const auto older = Encode(
      R"({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": null,
          "function_call": {"name": "weather", "arguments": "{}"}}]})",
      options);
  EXPECT_TRUE((*older)[0].notes & kToolCallLost);
  EXPECT_FALSE((*older)[0].notes & kEmptyAnswer);
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
