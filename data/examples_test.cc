#include "data/examples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_replace.h"
#include "data/jinja/repr.h"

namespace lockstep::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<Example> Parse(const std::string& json, ExampleOptions options = {}) {
  const SourcePosition source{"d.jsonl", 7};
  const absl::StatusOr<Format> format = RecognizeFormat(json, source, options);
  if (!format.ok()) return format.status();
  return ParseExample(json, *format, source, options);
}

std::string ErrorOf(const std::string& json, ExampleOptions options = {}) {
  return std::string(Parse(json, std::move(options)).status().message());
}

const ChatExample& Chat(const absl::StatusOr<Example>& example) {
  return std::get<ChatExample>(example->content);
}

TEST(Examples, Messages) {
  const auto example = Parse(
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b",
          "weight": 0}, {"role": "assistant", "content": "c", "train": true}], "id": 3})");
  ASSERT_TRUE(example.ok()) << example.status();
  EXPECT_EQ(example->format, Format::kMessages);
  EXPECT_THAT(Chat(example).trained, ElementsAre(true, false, true));
  EXPECT_THAT(example->ignored_keys, ElementsAre("id"));
  EXPECT_EQ(jinja::ToJson(Chat(example).messages.items()[1], {}),
            R"({"role": "assistant", "content": "b"})");
  EXPECT_TRUE(Chat(example).tools.is_none());
}

TEST(Examples, AWeightIsNoneOrAll) {
  const std::string chat = R"({"messages": [{"role": "assistant", "content": "b", "weight": W}]})";
  const auto with = [&](const char* weight) { return absl::StrReplaceAll(chat, {{"W", weight}}); };
  EXPECT_THAT(Chat(Parse(with("1.0"))).trained, ElementsAre(true));
  EXPECT_THAT(ErrorOf(with("0.5")), HasSubstr("weight: want 0 or 1, got 0.5"));
  EXPECT_THAT(ErrorOf(with(R"(1, "train_detail": [{"begin_offset": 0, "train": false}])")),
              HasSubstr("messages[0]] train_detail: want a message that is learned whole"));
  EXPECT_THAT(Chat(Parse(with(R"(1, "train_detail": [])"))).trained, ElementsAre(true));
}

TEST(Examples, KeysThatAreNullAreNotThere) {
  const auto example = Parse(
      R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "q", "image": null}],
                        "name": null, "tool_calls": []},
                       {"role": "assistant", "content": null, "tool_calls": [{"id": null,
                        "function": {"name": "f", "strict": null, "arguments": {"x": null}}}]},
                       {"role": "tool", "content": "r", "tool_calls": null}], "tools": null})");
  ASSERT_TRUE(example.ok()) << example.status();
  EXPECT_EQ(jinja::ToJson(Chat(example).messages, {}),
            R"([{"role": "user", "content": [{"type": "text", "text": "q"}]}, )"
            R"({"role": "assistant", "content": null, "tool_calls": [)"
            R"({"function": {"name": "f", "arguments": {"x": null}}}]}, )"
            R"({"role": "tool", "content": "r"}])");
}

TEST(Examples, ShareGpt) {
  const auto example = Parse(
      R"({"conversations": [{"from": "human", "value": "q"}, {"from": "function_call",
          "value": "{\"name\": \"f\", \"arguments\": {\"x\": 1}}"}, {"from": "observation",
          "value": "r"}, {"from": "gpt", "value": "a"}], "system": "s"})");
  ASSERT_TRUE(example.ok()) << example.status();
  std::string roles;
  for (const auto& message : Chat(example).messages.items()) {
    roles += message.Find("role")->str() + " ";
  }
  EXPECT_EQ(roles, "system user assistant tool assistant ");
  EXPECT_TRUE(Chat(example).messages.items()[2].Find("content")->is_none());
  EXPECT_THAT(ErrorOf(R"({"conversations": [{"from": "alien", "value": "q"}]})"),
              HasSubstr("d.jsonl:7 conversations[0]] unknown role 'alien'"));
}

TEST(Examples, PairsAndTurns) {
  const auto pair = Parse(R"({"prompt": "p", "completion": "c"})");
  ASSERT_TRUE(pair.ok());
  EXPECT_EQ(std::get<PairExample>(pair->content).completion, "c");
  const auto chat = Parse(
      R"({"prompt": [{"role": "assistant", "content": "x"}], "completion":
          [{"role": "assistant", "content": "y"}]})");
  EXPECT_THAT(Chat(chat).trained, ElementsAre(false, true));
  const auto alpaca = Parse(R"({"instruction": "i", "input": "n", "output": "o"})");
  EXPECT_EQ(std::get<TurnExample>(alpaca->content).pair.prompt, "i\n\nn");
  ExampleOptions columns;
  columns.columns = *ParseColumns("prompt:q,completion:a");
  const auto renamed = Parse(R"({"q": "x", "a": "y", "completion": "no"})", columns);
  ASSERT_TRUE(renamed.ok()) << renamed.status();
  EXPECT_EQ(std::get<PairExample>(renamed->content).completion, "y");
  // Whoever has renamed is not told to.
  EXPECT_THAT(Parse(R"({"prompt": "x", "completion": "y"})", columns).status().message(),
              HasSubstr("HINT: what --columns names is not there"));
}

TEST(Examples, Tokens) {
  const auto example = Parse(R"({"input_ids": [5, 6, 7], "labels": [-100, 6, -100]})");
  ASSERT_TRUE(example.ok()) << example.status();
  EXPECT_THAT(std::get<TokensExample>(example->content).supervised, ElementsAre(0, 1, 0));
  EXPECT_THAT(ErrorOf(R"({"input_ids": [5], "labels": [6]})"), HasSubstr("not shifted"));
  EXPECT_THAT(ErrorOf(R"({"input_ids": [5], "labels": []})"), HasSubstr("as many"));
  EXPECT_THAT(ErrorOf(R"({"input_ids": [-1]})"), HasSubstr("token id"));
  EXPECT_THAT(ErrorOf(R"({"input_ids": [1.5]})"), HasSubstr("token id"));
}

TEST(Examples, PaddingIsLeftOut) {
  const auto tokens = [](const std::string& json) {
    return std::get<TokensExample>(Parse(json)->content);
  };
  const TokensExample left = tokens(
      R"({"input_ids": [0, 0, 5, 6, 7], "attention_mask": [0, 0, 1, 1, 1],
          "labels": [-100, -100, 5, 6, -100]})");
  EXPECT_THAT(left.input_ids, ElementsAre(5, 6, 7));
  EXPECT_THAT(left.supervised, ElementsAre(0, 1, 0));
  const TokensExample right = tokens(R"({"input_ids": [5, 6, 0], "attention_mask": [1, 1, 0]})");
  EXPECT_THAT(right.input_ids, ElementsAre(5, 6));
  EXPECT_THAT(right.supervised, ElementsAre(0, 1));
  EXPECT_THAT(tokens(R"({"input_ids": [5], "attention_mask": [0]})").input_ids, ElementsAre());
  const auto refused = [](const char* mask) {
    return ErrorOf(std::string(R"({"input_ids": [5, 6, 7], "attention_mask": )") + mask + "}");
  };
  EXPECT_THAT(refused("[1, 0, 1]"), HasSubstr("zeros before and behind them alone"));
  EXPECT_THAT(refused("[1, 2, 1]"), HasSubstr("attention_mask: want ones"));
  EXPECT_THAT(refused("[2, 1, 1]"), HasSubstr("attention_mask: want ones"));
  EXPECT_THAT(refused("[1, 1]"), HasSubstr("want a list of 3"));
}

TEST(Examples, TheFirstFormatWinsAndTextComesLast) {
  EXPECT_EQ(Parse(R"({"text": "t", "prompt": "p", "completion": "c"})")->format,
            Format::kPromptCompletion);
  ExampleOptions options;
  options.format = Format::kText;
  EXPECT_EQ(Parse(R"({"text": "t", "prompt": "p", "completion": "c"})", options)->format,
            Format::kText);
}

TEST(Examples, MixedFilesAndBadLinesAreRefusedByLine) {
  const auto mixed = ParseExample(R"({"text": "t"})", Format::kMessages, {"d.jsonl", 9}, {});
  EXPECT_THAT(std::string(mixed.status().message()), HasSubstr("[d.jsonl:9] mixed file"));
  EXPECT_THAT(ErrorOf("{\"messages\": [}"), HasSubstr("[d.jsonl:7] this is no valid JSON: byte"));
  EXPECT_THAT(ErrorOf("question,answer"), HasSubstr("HINT: want JSONL, an object on each line"));
  EXPECT_THAT(ErrorOf("[1]"), HasSubstr("want a JSON object, got list"));
  EXPECT_THAT(ErrorOf("null"), HasSubstr("want a JSON object, got null"));
  EXPECT_THAT(ErrorOf(R"({"foo": 1})"), HasSubstr("foo"));
  EXPECT_THAT(ErrorOf(R"({"text": "a", "text": "b"})"), HasSubstr("twice"));
  EXPECT_THAT(ErrorOf(R"({"text": 3})"), HasSubstr("want a string, got number"));
  EXPECT_THAT(ErrorOf(R"({"messages": []})"), HasSubstr("empty"));
  EXPECT_THAT(ErrorOf(R"({"messages": [{"content": "x"}]})"), HasSubstr("role is missing"));
  EXPECT_THAT(ErrorOf(R"({"messages": [{"role": "user", "content": 5}]})"), HasSubstr("content"));
  EXPECT_THAT(ErrorOf(R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})"),
              HasSubstr("want text, got image_url"));
  EXPECT_THAT(ErrorOf(R"({"text": "\ud800"})"), HasSubstr("byte"));
  EXPECT_THAT(ErrorOf(R"({"messages": null})"), HasSubstr("got null"));
  EXPECT_THAT(ErrorOf("{ \r"), HasSubstr("whole JSON object on this line"));
  EXPECT_THAT(ErrorOf(R"({"conversations": [{"role": "user", "content": "x"}]})"),
              HasSubstr("HINT: --columns=messages:conversations"));
}

TEST(Examples, NullIsNoText) {
  const char* refused[] = {R"({"prompt":"x","completion":null})", R"({"text":null})",
                           R"({"question":null,"answer":"x"})",
                           R"({"instruction":"x","output":null})",
                           R"({"prompt":[{"role":"user","content":"x"}],"completion":"y"})"};
  for (const char* json : refused) {
    const auto format = RecognizeFormat(json, {"a.jsonl", 1}, {});
    ASSERT_TRUE(format.ok()) << json;
    EXPECT_FALSE(ParseExample(json, *format, {"a.jsonl", 1}, {}).ok()) << json;
  }
  EXPECT_TRUE(ParseExample(R"({"instruction":"x","input":null,"output":"y"})", Format::kAlpaca,
                           {"a.jsonl", 1}, {})
                  .ok());
}

// UTF-16 without a mark is valid UTF-8, with a zero behind each letter.
TEST(Examples, TextWithZeroBytesIsNoText) {
  EXPECT_TRUE(TextDocument("ab", {"a.txt", 3}).ok());
  const auto wide = TextDocument(absl::string_view("a\0b\0", 4), {"a.txt", 3});
  EXPECT_THAT(wide.status().message(), HasSubstr("[a.txt:3] byte 2 of this text is zero"));
}

}  // namespace
}  // namespace lockstep::data
