#include "data/jinja/template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "data/jinja/json.h"
#include "data/jinja/repr.h"

namespace lockstep::data::jinja {
namespace {

using ::testing::HasSubstr;

Value Json(absl::string_view text) {
  const absl::StatusOr<Value> value = ParseJson(text);
  EXPECT_TRUE(value.ok()) << value.status() << " " << text;
  return value.ok() ? *value : Value();
}

absl::StatusOr<Rendered> RenderText(absl::string_view source, const Value& variables,
                                    RenderOptions options = {}) {
  options.now = "2026-11-22";
  const absl::StatusOr<Template> parsed = Template::Parse(source, "t");
  if (!parsed.ok()) return parsed.status();
  return parsed->Render(variables, options);
}

std::string TextOf(absl::string_view source, absl::string_view variables = "{}") {
  const absl::StatusOr<Rendered> out = RenderText(source, Json(variables));
  return out.ok() ? out->text : std::string(out.status().message());
}

// What jinja2 gives for the same templates and variables (testdata/compare.py).
TEST(Template, EqualsJinja2OnSmallTemplates) {
  const Value variables = Json(*ReadFile("data/jinja/testdata/variables.json"));
  std::ifstream file("data/jinja/testdata/expected.jsonl");
  int count = 0;
  for (std::string line; std::getline(file, line); ++count) {
    const Value expected = Json(line);
    const std::string& source = expected.Find("template")->str();
    const absl::StatusOr<Rendered> out = RenderText(source, variables);
    if (const Value* text = expected.Find("text")) {
      ASSERT_TRUE(out.ok()) << source << "\n" << out.status();
      EXPECT_EQ(out->text, text->str()) << source;
    } else {
      EXPECT_FALSE(out.ok()) << source << "\n" << out->text;
    }
  }
  EXPECT_GT(count, 450);
}

TEST(Template, EqualsTransformersOnSharedChats) {
  const absl::StatusOr<std::string> file =
      ReadFile("external/shared/assets/chat/render_cases.json");
  if (!file.ok()) GTEST_SKIP() << "the shared chats are not here: " << file.status();
  const Value cases = Json(*file);
  for (const Value& one : cases.items()) {
    const absl::StatusOr<Rendered> out =
        RenderText(one.Find("chat_template")->str(), *one.Find("data"));
    ASSERT_TRUE(out.ok()) << one.Find("name")->str() << "\n" << out.status();
    EXPECT_EQ(out->text, one.Find("target")->str()) << one.Find("name")->str();
  }
}

TEST(Template, ErrorsNameTheLine) {
  EXPECT_THAT(TextOf("a\nb\n{{ 1 + }}"), HasSubstr("[t line 3] "));
  EXPECT_THAT(TextOf("{% if a %}\n\n{{ a.b.c }}{% endif %}", R"({"a": {"x": 1}})"),
              HasSubstr("[t line 3] 'dict object' has no attribute 'b'"));
  EXPECT_THAT(TextOf("{% macro m() %}\n{{ raise_exception('no roles') }}{% endmacro %}\n{{ m() }}"),
              HasSubstr("[t line 2] no roles"));
  EXPECT_THAT(TextOf("{% if x %}\n\n"), HasSubstr("line"));
  EXPECT_THAT(TextOf("{{ x.append(1) }}", R"({"x": []})"), HasSubstr("unsafe"));
}

TEST(Template, GenerationSpansAreBytesOfTheText) {
  const absl::StatusOr<Rendered> out = RenderText(
      "{% for m in messages %}<{{ m }}>{% generation %}é{{ m }}{% endgeneration %};{% endfor %}",
      Json(R"({"messages": ["a", "bc"]})"));
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(out->text, "<a>éa;<bc>ébc;");
  ASSERT_EQ(out->generation_spans.size(), 2u);
  EXPECT_EQ(out->generation_spans[0], (std::pair<int64_t, int64_t>(3, 6)));
  EXPECT_EQ(out->generation_spans[1], (std::pair<int64_t, int64_t>(11, 15)));
}

// What the spans hold, one behind the other with "|" between.
std::string SpansOf(absl::string_view source) {
  const absl::StatusOr<Rendered> out = RenderText(source, Json(R"({"m": ["a", "bc"]})"));
  if (!out.ok()) return std::string(out.status().message());
  std::string spans = out->spans_lost ? "lost" : "";
  for (const auto& [begin, end] : out->generation_spans) {
    spans += "|" + out->text.substr(begin, end - begin);
  }
  return spans;
}

TEST(Template, GenerationSpansComeOutOfMacrosAndBlocks) {
  const std::string macro =
      "{% macro say(x) %}<{{ x }}>{% generation %}é{{ x }}{% endgeneration %};{% endmacro %}";
  EXPECT_EQ(SpansOf(macro + "{% for x in m %}: {{ say(x) }}{% endfor %}"), "|éa|ébc");
  EXPECT_EQ(SpansOf(macro + "{% set a = say('x') %}, {{ a }}, {{ a }}"), "|éx|éx");
  EXPECT_EQ(SpansOf(macro + "{{ 'ab' ~ say('x') ~ say('y') }}"), "|éx|éy");
  EXPECT_EQ(SpansOf(macro + "{{ 'ab' + say('x') + 'c' }}"), "|éx");
  EXPECT_EQ(SpansOf(macro + "{% set b %}1{{ say('x') }}2{% endset %}{{ b }}"), "|éx");
  EXPECT_EQ(SpansOf("{% macro outer() %}({{ caller() }}){% endmacro %}{% call outer() %}ab"
                    "{% generation %}c{% endgeneration %}{% endcall %}"),
            "|c");
  EXPECT_EQ(SpansOf("{% for x in m recursive %}-{% generation %}{{ x }}{% endgeneration %}"
                    "{% endfor %}"),
            "|a|bc");
  EXPECT_EQ(SpansOf(macro + "{{ say('x') | trim }}"), "lost");
  EXPECT_EQ(SpansOf(macro + "{% set unused = say('x') %}"), "lost");
}

TEST(Template, LimitsStopWhatRunsTooLong) {
  EXPECT_THAT(TextOf("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}"
                     "{% endfor %}"),
              HasSubstr("too long"));
  EXPECT_THAT(TextOf("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), HasSubstr("recursion"));
  EXPECT_THAT(TextOf("{{ 'a' * 99999999999 }}"), HasSubstr("too large"));
  for (const char* many : {"[1] * 400000000", "('a,' * 5000000).split(',')", "('a' * 5000000)|list",
                           "[1]|batch(5000000, 0)|list", "(',' * 5000000)|batch(1)|list"}) {
    EXPECT_THAT(TextOf(absl::StrCat("{{ (", many, ")|length }}")), HasSubstr("too large")) << many;
  }
  EXPECT_THAT(TextOf("{% set ns = namespace(x=[1]) %}{% for i in range(99) %}"
                     "{% set ns.x = ns.x + ns.x %}{% endfor %}"),
              HasSubstr("too large"));
  RenderOptions few;
  few.max_steps = 1'000'000;
  EXPECT_THAT(RenderText("{% for i in range(999) %}{% set x = 'a' * 9999999 %}{% endfor %}",
                         Json("{}"), few)
                  .status()
                  .message(),
              HasSubstr("too long"));
  EXPECT_THAT(TextOf("{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(99) %}"
                     "{% set ns.x = ns.x ~ ns.x %}{% endfor %}"),
              HasSubstr("too "));
  EXPECT_THAT(TextOf("{% set ns = namespace(x=[]) %}{% for i in range(9999) %}"
                     "{% set ns.x = [ns.x] %}{% endfor %}"),
              HasSubstr("too deeply"));
  EXPECT_THAT(TextOf("{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns }}"),
              HasSubstr("recursion"));
  EXPECT_THAT(TextOf("{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}"),
              HasSubstr("too deeply"));
  std::string sum = "1";
  for (int i = 0; i < 5000; ++i) sum += "+1";
  EXPECT_THAT(TextOf("{{ " + sum + " }}"), HasSubstr("too long"));
  RenderOptions small;
  small.max_output_bytes = 10;
  EXPECT_FALSE(RenderText("{{ 'abc' }}{{ 'abcdefghi' }}", Json("{}"), small).ok());
}

TEST(Template, WhatIsNotThereIsNamed) {
  EXPECT_THAT(TextOf("{{ [1]|random }}"), HasSubstr("'random' is not supported"));
  EXPECT_THAT(TextOf("{{ 'a'|urlize }}"), HasSubstr("'urlize'"));
  EXPECT_THAT(TextOf("{{ lipsum() }}"), HasSubstr("lipsum() makes random text"));
  EXPECT_THAT(TextOf("{{ 'a'|shout }}"), HasSubstr("No filter named 'shout'"));
  EXPECT_THAT(TextOf("{{ ('9' * 40)|int }}"), HasSubstr("out of range (128 bits)"));
  EXPECT_EQ(TextOf("{{ ('9' * 40 ~ 'z')|int }}"), "0");
}

TEST(Template, StrftimeNowNeedsADate) {
  const absl::StatusOr<Template> parsed = Template::Parse("{{ strftime_now('%d %b %Y') }}", "t");
  ASSERT_TRUE(parsed.ok());
  EXPECT_FALSE(parsed->Render(Json("{}"), {}).ok());
  RenderOptions options;
  options.now = "2024-07-26T13:14:15";
  EXPECT_EQ(parsed->Render(Json("{}"), options)->text, "26 Jul 2024");
}

TEST(Json, KeepsWhatTheTextSays) {
  const std::string text =
      R"({"b": 1, "a": [12345678901234567890, -170141183460469231731, 1.0, 1e20, true, null], "é": "\u2028"})";
  EXPECT_EQ(
      ToJson(Json(text), {}),
      R"({"b": 1, "a": [12345678901234567890, -170141183460469231731, 1.0, 1e+20, true, null], "é": ")"
      "\u2028\"}");
  EXPECT_EQ(ToJson(Json(R"({"a": 1, "b": 2, "a": 3})"), {}), R"({"a": 3, "b": 2})");
}

TEST(Json, NumbersThatNotAllParsersTake) {
  EXPECT_EQ(ToJson(Json("[-0, -0.0, 18446744073709551615, 18446744073709551616, 1E2, 5e-324]"), {}),
            "[0, -0.0, 18446744073709551615, 18446744073709551616, 100.0, 5e-324]");
  EXPECT_EQ(ToJson(Json("\t{\"\\u00e9\\ud83d\\ude00\": \"\\u0000\"} \n"), {}),
            "{\"é😀\": \"\\u0000\"}");
}

TEST(Json, RefusesWithTheByte) {
  EXPECT_FALSE(ParseJson("\"\\udc00\"").ok());
  EXPECT_FALSE(ParseJson("\"\\ud800\\ud800\"").ok());
  EXPECT_FALSE(ParseJson(std::string("{}\0", 3)).ok());
  EXPECT_FALSE(ParseJson("[01]").ok());
  EXPECT_FALSE(ParseJson("[1.]").ok());
  EXPECT_FALSE(ParseJson("\"a\nb\"").ok());
  EXPECT_FALSE(ParseJson("\xEF\xBB\xBF{}x").ok());
  EXPECT_FALSE(ParseJson("NaN").ok());
  EXPECT_THAT(ParseJson("{\"a\": 1,}").status().message(), HasSubstr("byte 9"));
  EXPECT_FALSE(ParseJson("\"\\ud800\"").ok());
  EXPECT_FALSE(ParseJson("\"\xff\"").ok());
  EXPECT_FALSE(ParseJson("1e999").ok());
  EXPECT_FALSE(ParseJson(std::string(100000, '[')).ok());
  EXPECT_FALSE(ParseJson("{} x").ok());
  EXPECT_FALSE(ParseJson("").ok());
  JsonReadOptions strict;
  strict.refuse_duplicate_keys = true;
  EXPECT_FALSE(ParseJson(R"({"a": 1, "a": 2})", strict).ok());
}

}  // namespace
}  // namespace lockstep::data::jinja
