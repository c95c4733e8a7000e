#include "data/tokenizer/tokenizer.h"

#include <dirent.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/testing.h"
#include "base/thread_pool.h"
#include "data/tokenizer/small_tokenizer.h"
#include "data/tokenizer/stream_decoder.h"

namespace lockstep::data {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::unique_ptr<Tokenizer> MakeTokenizer(const json& settings) {
  auto tokenizer = Tokenizer::Parse(settings.dump(), "tokenizer.json");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

std::string LoadError(const json& settings) {
  return std::string(Tokenizer::Parse(settings.dump(), "m/tokenizer.json").status().message());
}

TEST(TokenizerTest, MergesByRankAndKnowsWhereTokensStand) {
  const auto tokenizer = MakeTokenizer(SmallTokenizer());
  const auto encoding = tokenizer->Encode("hello wör<|end|>", false);
  ASSERT_TRUE(encoding.ok());
  std::vector<std::string> tokens;
  for (const int32_t id : encoding->ids) tokens.push_back(*tokenizer->IdToToken(id));
  EXPECT_THAT(tokens, ElementsAre("hello", "Ġw", "Ã", "¶", "r", "<|end|>"));
  using Span = TokenSpan;
  EXPECT_THAT(encoding->offsets, ElementsAre(Span{0, 5}, Span{5, 7}, Span{7, 8}, Span{8, 9},
                                             Span{9, 10}, Span{10, 17}));
  EXPECT_EQ(tokenizer->Decode(encoding->ids, false), "hello wör<|end|>");
  EXPECT_EQ(tokenizer->Decode(encoding->ids, true), "hello wör");
  EXPECT_EQ(tokenizer->vocab_size(), 263);
  EXPECT_THAT(tokenizer->SpecialTexts(), ElementsAre("<|end|>"));
  EXPECT_EQ(tokenizer->TokenToId("<|end|>"), 262);
  EXPECT_EQ(tokenizer->TokenToId("nothing"), std::nullopt);
}

TEST(TokenizerTest, BothSpellingsOfMergesAreTheSame) {
  json strings = SmallTokenizer();
  for (json& merge : strings["model"]["merges"]) {
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  EXPECT_EQ(*MakeTokenizer(strings)->EncodeIds("hello world", false),
            *MakeTokenizer(SmallTokenizer())->EncodeIds("hello world", false));
}

TEST(TokenizerTest, UnicodeScriptsCutsWhereTheScriptChanges) {
  json settings = SmallTokenizer();
  settings["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "UnicodeScripts"}},
        {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"use_regex", false}}}}};
  const auto tokenizer = MakeTokenizer(settings);
  EXPECT_EQ(
      tokenizer->Decode(
          *tokenizer->EncodeIds(" \uE000\u0378aя 日本ひカー語1 x\u0378y\u0589з", false), false),
      " a я  日本ひカー語 1  x\u0378y \u0589 з");
}

TEST(TokenizerTest, ExpressionsKnowTheScriptsOfUnicode15And16) {
  json settings = SmallTokenizer();
  json steps = json::array();
  for (const auto& [name, letter] :
       {std::pair("Kawi", "k"), {"Nag_Mundari", "n"}, {"Garay", "g"}, {"Mn", "m"}, {"Mc", "c"}}) {
    const std::string pattern = absl::StrCat("\\p{", name, "}");
    steps.push_back({{"type", "Replace"}, {"pattern", {{"Regex", pattern}}}, {"content", letter}});
  }
  settings["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
  const auto tokenizer = MakeTokenizer(settings);
  EXPECT_EQ(
      tokenizer->Decode(
          *tokenizer->EncodeIds("\U00011F04\U0001E4D0\U00010D40\u0301\U0001171Ea", false), false),
      "kngmca");
}

// What is left of "aQ.E\n8\u00BDb" where a pattern's matches become "_": as the tokenizers package.
TEST(TokenizerTest, ReadsEscapesAsOnigurumaDoes) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"(\Q.\E)", "a_\n8\u00BDb"},       {R"([\012a]+)", "_Q.E_8\u00BDb"},
      {R"(\101|\142)", "aQ.E\n8\u00BD_"}, {R"(\012{1}?\08?)", "aQ.E\n8\u00BDb"},
      {R"([\12]\O)", "aQ.E_\u00BDb"},     {R"(\p{word}+)", "_._\n_"},
      {R"([\p{word}]+)", "_._\n_\u00BD_"}};
  for (const auto& [pattern, want] : cases) {
    json settings = SmallTokenizer();
    settings["normalizer"] = {
        {"type", "Replace"}, {"pattern", {{"Regex", pattern}}}, {"content", "_"}};
    const auto tokenizer = MakeTokenizer(settings);
    const auto ids = tokenizer->EncodeIds("aQ.E\n8\u00BDb", false);
    EXPECT_EQ(tokenizer->Decode(*ids, false), want) << pattern;
  }
}

TEST(TokenizerTest, ReplacesNothingInAnEmptyText) {
  json settings = SmallTokenizer();
  json steps = {{{"type", "Strip"}},
                {{"type", "Replace"}, {"pattern", {{"Regex", "x*"}}}, {"content", "_"}}};
  settings["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
  EXPECT_THAT(*MakeTokenizer(settings)->EncodeIds(" ", false), IsEmpty());
}

TEST(TokenizerTest, InvalidTextIsNamedByByte) {
  const auto tokenizer = MakeTokenizer(SmallTokenizer());
  EXPECT_THAT(tokenizer->Encode("ab\xED\xA0\x80", false).status().message(),
              HasSubstr("not valid UTF-8 at byte 2"));
}

TEST(TokenizerTest, NamesWhatItDoesNotSupport) {
  json settings = SmallTokenizer();
  settings["pre_tokenizer"] = {{"type", "Sequence"},
                               {"pretokenizers", {settings["pre_tokenizer"], {{"type", "X"}}}}};
  EXPECT_THAT(LoadError(settings),
              HasSubstr("[m/tokenizer.json: pre_tokenizer.pretokenizers[1].type] the pre-tokenizer "
                        "\"X\" is not supported"));
  settings = SmallTokenizer();
  settings["normalizer"] = {{"type", "Precompiled"}};
  EXPECT_THAT(LoadError(settings), HasSubstr("[m/tokenizer.json: normalizer.type]"));
  settings = SmallTokenizer();
  settings["decoder"] = {{"type", "Sequence"}, {"decoders", {{{"type", "CTC"}}}}};
  EXPECT_THAT(LoadError(settings), HasSubstr("decoder.decoders[0].type] the decoder \"CTC\""));
  settings = SmallTokenizer();
  settings["model"]["type"] = "Unigram";
  EXPECT_THAT(LoadError(settings), HasSubstr("model.type] the model \"Unigram\""));
  settings = SmallTokenizer();
  settings["model"]["dropout"] = 0.1;
  EXPECT_THAT(LoadError(settings), HasSubstr("model.dropout] BPE dropout is not supported"));
  settings = SmallTokenizer();
  settings["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "(a"}}}};
  EXPECT_THAT(LoadError(settings), HasSubstr("pre_tokenizer.pattern.Regex]"));
  for (const char* pattern : {R"(\X)", R"(\y)", R"(\cA)", R"([\C-a])", "(?x)a # b"}) {
    settings["pre_tokenizer"]["pattern"]["Regex"] = pattern;
    EXPECT_THAT(LoadError(settings), HasSubstr("is not supported")) << pattern;
  }
}

TEST(TokenizerTest, NamesWhatIsWrong) {
  EXPECT_THAT(Tokenizer::Parse("{\"a\": 1,\n \"b\": }", "t.json").status().message(),
              HasSubstr("[t.json] this is not JSON: line 2, byte "));
  std::string longest = "{\"a\": \"";
  for (int i = 0; i < 5000; ++i) longest += "é";
  const std::string message(Tokenizer::Parse(longest, "t.json").status().message());
  EXPECT_THAT(message, HasSubstr("last read: '…éé"));
  EXPECT_LT(message.size(), 300) << message;
  json settings = SmallTokenizer();
  settings["model"]["merges"].push_back({"x", "nowhere"});
  EXPECT_THAT(LoadError(settings), HasSubstr("model.merges[6]] \"nowhere\" is not in the vocab"));
  settings = SmallTokenizer();
  settings["model"]["vocab"]["a"] = -1;
  EXPECT_THAT(LoadError(settings), HasSubstr("the id of \"a\": want a whole number"));
  settings = SmallTokenizer();
  settings["model"]["fuse_unk"] = "yes";
  EXPECT_THAT(LoadError(settings), HasSubstr("model.fuse_unk] want true or false, got \"yes\""));
  EXPECT_THAT(Tokenizer::Load("/nowhere/tokenizer.json", {}).status().message(),
              HasSubstr("/nowhere/tokenizer.json"));
}

TEST(TokenizerTest, ManyThreadsGiveWhatOneGives) {
  const auto tokenizer = MakeTokenizer(SmallTokenizer());
  std::vector<std::string> texts;
  for (int i = 0; i < 300; ++i) {
    texts.push_back(absl::StrCat("hello ", i % 17, " world of ", std::string(i, 'l'), " é\n"));
  }
  std::vector<std::vector<int32_t>> ids(texts.size());
  ParallelFor(texts.size(), [&](int64_t i) { ids[i] = *tokenizer->EncodeIds(texts[i], true); });
  const auto fresh = MakeTokenizer(SmallTokenizer());
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(ids[i], *fresh->EncodeIds(texts[i], true));
}

// More words than the cache of words holds, and words beyond its size.
TEST(TokenizerTest, CachedWordsAreThoseOfAFreshTokenizer) {
  const auto tokenizer = MakeTokenizer(SmallTokenizer());
  std::string text;
  for (int i = 0; i < 70000; ++i) absl::StrAppend(&text, "hell", i, "o ");
  const auto first = tokenizer->EncodeIds(text, false);
  EXPECT_EQ(tokenizer->Decode(*first, false), text);
  EXPECT_EQ(*tokenizer->EncodeIds(text, false), *first);
}

TEST(StreamDecoderTest, NeverSplitsACharacter) {
  const auto tokenizer = MakeTokenizer(SmallTokenizer());
  StreamDecoder stream(*tokenizer, true);
  const std::vector<int32_t> ids = *tokenizer->EncodeIds("hé€😀", false);
  std::vector<std::string> pieces;
  for (const int32_t id : ids) pieces.push_back(stream.Push(id));
  EXPECT_THAT(pieces, ElementsAre("h", "", "é", "", "", "€", "", "", "", "😀"));
  EXPECT_EQ(stream.Finish(), "");
  stream.Push(ids[1]);
  EXPECT_EQ(stream.Finish(), "\uFFFD");
}

// A run of byte tokens is text, or none of it is: that shows when another token follows.
TEST(StreamDecoderTest, HoldsBackBytesThatAnotherMaySpoil) {
  json settings = SmallTokenizer();
  settings["model"]["vocab"] = {{"x", 0}, {"<0x41>", 1}, {"<0xFF>", 2}};
  settings["model"]["merges"] = json::array();
  settings["decoder"] = {{"type", "ByteFallback"}};
  const auto tokenizer = MakeTokenizer(settings);
  StreamDecoder stream(*tokenizer, false);
  EXPECT_EQ(stream.Push(1), "");
  EXPECT_EQ(stream.Push(0), "Ax");
  EXPECT_EQ(stream.Push(1), "");
  EXPECT_EQ(stream.Push(2), "");
  EXPECT_EQ(stream.Push(0), "\uFFFD\uFFFDx");
}

// Long words are cut where no tokens join; what joins is known by ids, not by characters.
TEST(TokenizerTest, LongWordsWithTwoTokensOfOneId) {
  json settings = SmallTokenizer();
  settings["pre_tokenizer"] = nullptr;
  settings["model"]["vocab"] = {{"a", 0}, {"b", 0}, {"aa", 1}};
  settings["model"]["merges"] = json::array({json::array({"a", "a"})});
  const auto ids = MakeTokenizer(settings)->EncodeIds(std::string(100, 'b'), false);
  EXPECT_EQ(*ids, std::vector<int32_t>(50, 1));
}

// Without an unk_token, characters that the vocabulary lacks are nothing, and what stood around
// them joins.
TEST(TokenizerTest, LongWordsJoinOverUnknownCharacters) {
  json settings = SmallTokenizer();
  settings["pre_tokenizer"] = nullptr;
  settings["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"ab", 2}};
  settings["model"]["merges"] = json::array({json::array({"a", "b"})});
  std::string text;
  for (int i = 0; i < 50; ++i) text += "a?b";
  EXPECT_EQ(*MakeTokenizer(settings)->EncodeIds(text, false), std::vector<int32_t>(50, 2));
}

class CacheTest : public ::testing::Test {
 protected:
  // Large enough to be worth caching.
  void SetUp() override {
    json settings = SmallTokenizer();
    for (int i = 0; i < 60000; ++i) {
      settings["model"]["vocab"]["token number " + std::to_string(i)] = 300 + i;
    }
    path_ = folder_ + "/tokenizer.json";
    ASSERT_TRUE(WriteFileAtomically(path_, settings.dump()).ok());
    options_.cache_dir = folder_ + "/cache";
  }

  std::string CacheFile() const {
    DIR* directory = opendir(options_.cache_dir.c_str());
    std::string found;
    while (const dirent* entry = readdir(directory)) {
      if (entry->d_name[0] != '.') found = options_.cache_dir + "/" + entry->d_name;
    }
    closedir(directory);
    return found;
  }

  void ExpectWorks() const {
    const auto tokenizer = Tokenizer::Load(path_, options_);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    EXPECT_THAT(*(*tokenizer)->EncodeIds("hello<|end|>", false), ElementsAre(259, 60262));
    EXPECT_EQ((*tokenizer)->IdToToken(60299), "token number 59999");
  }

  const std::string folder_ = FreshFolder();
  std::string path_;
  TokenizerOptions options_;
};

TEST_F(CacheTest, IsWrittenAndRead) {
  ExpectWorks();
  const auto written = ReadFile(CacheFile());
  ASSERT_TRUE(written.ok());
  ExpectWorks();
  EXPECT_EQ(*ReadFile(CacheFile()), *written);
}

TEST_F(CacheTest, TornOrChangedIsBuiltAnew) {
  ExpectWorks();
  const std::string file = CacheFile();
  const std::string good = *ReadFile(file);
  for (std::string bad :
       {good.substr(0, good.size() / 2), good.substr(0, 10), std::string(), good + "x", good}) {
    if (bad.size() == good.size()) bad[good.size() - 100] ^= 1;
    ASSERT_TRUE(WriteFileAtomically(file, bad).ok());
    ExpectWorks();
    EXPECT_EQ(*ReadFile(file), good);
  }
}

TEST_F(CacheTest, OfAnotherTokenizerIsNotBelieved) {
  ExpectWorks();
  const std::string file = CacheFile();
  const std::string other = *ReadFile(file);
  std::string content = *ReadFile(path_);
  content.insert(content.find("token number 7"), "a ");
  ASSERT_TRUE(WriteFileAtomically(path_, content).ok());
  unlink(file.c_str());
  ExpectWorks();
  ASSERT_TRUE(WriteFileAtomically(CacheFile(), other).ok());
  const auto tokenizer = Tokenizer::Load(path_, options_);
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_EQ((*tokenizer)->IdToToken(307), "a token number 7");
}

TEST_F(CacheTest, AFolderThatCannotBeMadeIsNoError) {
  options_.cache_dir = path_ + "/below/a/file";
  ExpectWorks();
}

}  // namespace
}  // namespace lockstep::data
