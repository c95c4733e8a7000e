// Small tokenizers that combine all components, against what the `tokenizers` library makes of them
// (testdata/generate_cases.py).
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "data/tokenizer/tokenizer.h"

namespace lockstep::data {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

TEST(CasesTest, AllAreEqual) {
  const auto content = ReadFile("data/tokenizer/testdata/cases.json");
  ASSERT_TRUE(content.ok()) << content.status();
  const json all = json::parse(*content);
  ASSERT_GE(all["cases"].size(), 50u);
  for (size_t i = 0; i < all["cases"].size(); ++i) {
    const json& test_case = all["cases"][i];
    json settings = test_case["tokenizer"];
    json& model = settings["model"];
    model.update(all["bases"][model["base"].get<size_t>()]);
    SCOPED_TRACE("case " + std::to_string(i));
    const auto tokenizer = Tokenizer::Parse(settings.dump(), "tokenizer.json");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    for (const json& row : test_case["rows"]) {
      const std::string text = row["text"];
      const auto encoding = (*tokenizer)->Encode(text, false);
      ASSERT_TRUE(encoding.ok()) << encoding.status();
      EXPECT_EQ(encoding->ids, row["ids"].get<Ids>()) << row;
      EXPECT_EQ(*(*tokenizer)->EncodeIds(text, false), encoding->ids);
      EXPECT_EQ(*(*tokenizer)->EncodeIds(text, true), row["ids_with_special"].get<Ids>()) << row;
      ASSERT_EQ(encoding->offsets.size(), encoding->ids.size());
      for (const TokenSpan& span : encoding->offsets) {
        EXPECT_TRUE(0 <= span.begin && span.begin <= span.end &&
                    span.end <= static_cast<int32_t>(text.size()));
      }
    }
    for (const json& row : test_case["decoded"]) {
      EXPECT_EQ((*tokenizer)->Decode(row["ids"].get<Ids>(), false), row["decoded"]) << row;
    }
  }
}

}  // namespace
}  // namespace lockstep::data
