// Texts of many kinds with what the `tokenizers` library makes of them.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "data/tokenizer/shared_tokenizers.h"
#include "data/tokenizer/stream_decoder.h"
#include "data/tokenizer/tokenizer.h"

namespace lockstep::data {
namespace {

class VectorsTest : public ::testing::TestWithParam<const char*> {};

// Spans grow, lie in the text, and those of the text's own tokens cover it (but for what the
// tokenizer drops).
void ExpectSoundOffsets(const std::string& text, const Encoding& encoding) {
  ASSERT_EQ(encoding.offsets.size(), encoding.ids.size());
  int32_t begin = 0, end = 0;
  for (const TokenSpan& span : encoding.offsets) {
    EXPECT_LE(begin, span.begin);
    EXPECT_LE(end, span.end);
    EXPECT_LE(span.begin, span.end);
    EXPECT_LE(span.begin, end) << "a hole";
    begin = span.begin;
    end = span.end;
  }
  EXPECT_EQ(end, static_cast<int32_t>(text.size()));
}

std::string Stream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  StreamDecoder stream(tokenizer, /*skip_special_tokens=*/false);
  std::string text;
  for (const int32_t id : ids) {
    const std::string news = stream.Push(id);
    EXPECT_TRUE(news.empty() || (news[0] & 0xC0) != 0x80) << "begins inside a character";
    text += news;
  }
  return text + stream.Finish();
}

TEST_P(VectorsTest, AllRowsAreEqual) {
  if (!HaveSharedTokenizers()) GTEST_SKIP() << "the reference material is not there";
  const auto tokenizer = Tokenizer::Load(UnpackSharedTokenizer(GetParam()), {});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto lines = ReadXzLines(absl::StrCat("tokenizer_vectors/", GetParam(), ".jsonl.xz"));
  ASSERT_GE(lines.size(), 400u);
  for (const std::string& line : lines) {
    const nlohmann::json row = nlohmann::json::parse(line);
    const std::string text = row["text"];
    const std::vector<int32_t> want = row["ids"];
    const auto encoding = (*tokenizer)->Encode(text, false);
    ASSERT_TRUE(encoding.ok()) << encoding.status();
    EXPECT_EQ(encoding->ids, want) << line;
    ExpectSoundOffsets(text, *encoding);
    EXPECT_EQ(*(*tokenizer)->EncodeIds(text, true), row["ids_with_special"].get<std::vector<int>>())
        << line;
    EXPECT_EQ((*tokenizer)->Decode(want, false), row["decoded"].get<std::string>()) << line;
    EXPECT_EQ(Stream(**tokenizer, want), row["decoded"].get<std::string>()) << line;
  }
}

INSTANTIATE_TEST_SUITE_P(All, VectorsTest, ::testing::ValuesIn(kSharedTokenizers),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace lockstep::data
