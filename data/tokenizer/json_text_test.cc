#include "data/tokenizer/json_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::data {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(const std::string& json) {
  simdjson::dom::parser parser;
  return std::string(ParseJson(parser, json, "file", "fetch it").status().message());
}

TEST(JsonTextTest, AByteOrderMarkAndLargeIntegersAreFine) {
  simdjson::dom::parser parser;
  const auto marked = ParseJson(parser, "\xEF\xBB\xBF{\"a\": 1}", "file");
  ASSERT_TRUE(marked.ok()) << marked.status();
  EXPECT_EQ(int64_t{(*marked)["a"]}, 1);
  const auto large = ParseJson(
      parser, R"({"a": 1000000000000000019884624838656, "b": 18446744073709551615, "c": "é"})",
      "file");
  ASSERT_TRUE(large.ok()) << large.status();
  EXPECT_EQ(double{(*large)["a"]}, 1e30);
  EXPECT_EQ(uint64_t{(*large)["b"]}, 18446744073709551615u);
  EXPECT_EQ(std::string_view((*large)["c"]), "é");
}

TEST(JsonTextTest, WhatIsNoJsonIsSaidByItsPlace) {
  EXPECT_THAT(ErrorOf("{\"a\":\n 1,,}"), HasSubstr("file] this is not JSON: line 2, byte 10: "));
  EXPECT_THAT(ErrorOf(""), HasSubstr("this is not JSON: line 1"));
  EXPECT_THAT(ErrorOf("{\"a\": 1e400}"), HasSubstr("this is not JSON: line 1"));
  EXPECT_THAT(ErrorOf("{\"a\": 1} {"), HasSubstr("HINT: fetch it"));
}

TEST(JsonTextTest, DeepNestingIsAnError) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + "1000000000000000019884624838656" + std::string(depth, ']');
  };
  EXPECT_EQ(JsonProblem(nested(1000)), "");
  EXPECT_EQ(ErrorOf(nested(1000)), "");
  EXPECT_EQ(JsonProblem(nested(3000000)), "nested deeper than 1024 levels");
  EXPECT_THAT(ErrorOf(nested(3000000)), HasSubstr("nested deeper than 1024 levels"));
}

}  // namespace
}  // namespace lockstep::data
