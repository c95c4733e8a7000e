// tokenizer.json files of broken settings and expressions, and random texts and ids: whatever
// comes, no crash and no hang. Broken bytes are tokenizer_fuzz_test's.
#include <gtest/gtest.h>

#include <random>

#include "base/file.h"
#include "data/tokenizer/small_tokenizer.h"
#include "data/tokenizer/stream_decoder.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_config.h"

namespace lockstep::data {
namespace {

using nlohmann::json;
using Random = std::mt19937;

int Below(Random& random, int limit) { return static_cast<int>(random() % limit); }

std::string RandomBytes(Random& random, int most) {
  std::string bytes(Below(random, most + 1), ' ');
  for (char& b : bytes)
    b = static_cast<char>(Below(random, 4) == 0 ? random() : 32 + random() % 95);
  return bytes;
}

std::string RandomText(Random& random) {
  std::string text;
  for (int i = Below(random, 30); i > 0; --i) {
    char32_t c = Below(random, 3) == 0 ? random() % 0x110000 : random() % 0x180;
    if (c >= 0xD800 && c < 0xE000) c = 0x2581;
    AppendUtf8(c, &text);
  }
  return text;
}

// Uses everything a tokenizer has.
void Exercise(const Tokenizer& tokenizer, Random& random) {
  for (int i = 0; i < 3; ++i) {
    const std::string text = RandomText(random);
    const auto encoding = tokenizer.Encode(text, true);
    if (encoding.ok()) {
      ASSERT_EQ(encoding->ids.size(), encoding->offsets.size());
      const auto ids = tokenizer.EncodeIds(text, true);
      ASSERT_TRUE(ids.ok()) << ids.status();
      ASSERT_EQ(*ids, encoding->ids);
    }
  }
  (void)tokenizer.Encode(RandomBytes(random, 40), false);
  std::vector<int32_t> ids;
  StreamDecoder stream(tokenizer, Below(random, 2) == 0);
  for (int i = 0; i < 20; ++i) {
    ids.push_back(Below(random, 4) == 0 ? static_cast<int32_t>(random()) : Below(random, 300));
    stream.Push(ids.back());
  }
  stream.Finish();
  tokenizer.Decode(ids, false);
}

// Components of all kinds, to be put in each other's places.
const std::vector<json>& Parts() {
  static const auto* parts = new std::vector<json>{
      json::parse(
          R"json({"type":"Sequence","normalizers":[{"type":"NFKC"},{"type":"Lowercase"}]})json"),
      json::parse(R"json({"type":"Replace","pattern":{"Regex":"\\s+"},"content":""})json"),
      json::parse(R"json({"type":"Strip","strip_left":true,"strip_right":true})json"),
      json::parse(R"json({"type":"Split","pattern":{"Regex":"(?i:'s)|\\p{L}+|\\s+(?!\\S)"},)json"
                  R"json("behavior":"MergedWithNext","invert":true})json"),
      json::parse(R"json({"type":"Metaspace","replacement":"▁","prepend_scheme":"first"})json"),
      json::parse(
          R"json({"type":"Sequence","pretokenizers":[{"type":"Digits"},{"type":"ByteLevel"}]})json"),
      json::parse(
          R"json({"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Fuse"},)json"
          R"json({"type":"Strip","content":" ","start":1,"stop":2}]})json"),
      json::parse(
          R"json({"type":"TemplateProcessing","single":[{"Sequence":{"id":"A","type_id":0}}],)json"
          R"json("pair":[],"special_tokens":{}})json"),
      json::parse(R"json({"type":"BertProcessing","sep":["a",1],"cls":["b",2]})json"),
      json::parse(R"json("▁")json"),
      json(nullptr),
      json(-3),
      json(1e300),
      json(true),
      json("x"),
      json::array(),
      json::object(),
      json(4294967296)};
  return *parts;
}

void Mutate(json& value, Random& random, int depth) {
  if (value.is_structured() && !value.empty() && depth < 6 && Below(random, 4) != 0) {
    auto place = value.begin();
    std::advance(place, Below(random, static_cast<int>(value.size())));
    return Mutate(*place, random, depth + 1);
  }
  value = Parts()[Below(random, static_cast<int>(Parts().size()))];
}

TEST(BrokenFilesTest, MutatedSettings) {
  Random random(1);
  int loaded = 0;
  for (int i = 0; i < 1500; ++i) {
    json settings = SmallTokenizer();
    for (const char* key : {"normalizer", "pre_tokenizer", "decoder", "post_processor"}) {
      if (Below(random, 2) == 0) {
        settings[key] = Parts()[Below(random, static_cast<int>(Parts().size()))];
      }
    }
    for (int k = Below(random, 3); k > 0; --k) Mutate(settings, random, 0);
    const auto tokenizer = Tokenizer::Parse(settings.dump(), "tokenizer.json");
    if (!tokenizer.ok()) continue;
    ++loaded;
    Exercise(**tokenizer, random);
  }
  EXPECT_GT(loaded, 50);
}

TEST(BrokenFilesTest, RandomExpressions) {
  Random random(3);
  const std::vector<std::string> bits = {
      "(",       ")",       "[",    "]",     "^",         "&&",     "-",    "|",   "*",   "+",
      "?",       "{2,}",    "{,3}", "{",     "}",         "\\p{L}", "\\p{", "\\w", "\\S", "\\",
      "(?i:",    "(?!",     "(?<=", "(?m)",  "[:alpha:]", "a",      "é",    ".",   "$",   "\\b",
      "\\x{41}", "\\u00e9", "++",   "(?<n>", "\\k<n>",    "[^",     "\\K"};
  for (int i = 0; i < 4000; ++i) {
    std::string pattern;
    for (int k = 1 + Below(random, 8); k > 0; --k) pattern += bits[Below(random, bits.size())];
    json settings = SmallTokenizer();
    settings["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}};
    const auto tokenizer = Tokenizer::Parse(settings.dump(), "tokenizer.json");
    if (tokenizer.ok()) Exercise(**tokenizer, random);
  }
}

// Exponential backtracking ends in an error, deep nesting in a refusal.
TEST(BrokenFilesTest, CostlyExpressionsEnd) {
  json settings = SmallTokenizer();
  settings["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "(a|aa|a*)*b(?=c)"}}}};
  const auto tokenizer = Tokenizer::Parse(settings.dump(), "tokenizer.json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_FALSE((*tokenizer)->Encode(std::string(60, 'a') + "bd", false).ok());
  for (const std::string open : {"(", "[", "(?:", "(?i)"}) {
    std::string pattern;
    for (int i = 0; i < 5000; ++i) pattern += open;
    settings["pre_tokenizer"]["pattern"]["Regex"] = pattern;
    (void)Tokenizer::Parse(settings.dump(), "tokenizer.json");
  }
}

TEST(BrokenFilesTest, LongTexts) {
  const auto tokenizer = Tokenizer::Parse(SmallTokenizer().dump(), "tokenizer.json");
  for (const std::string& text :
       {std::string(2000000, 'l'), std::string(2000000, ' '), std::string(1000000, '\0')}) {
    const auto ids = (*tokenizer)->EncodeIds(text, false);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ((*tokenizer)->Decode(*ids, false), text);
  }
}

TEST(BrokenFilesTest, MutatedConfig) {
  Random random(4);
  const std::string folder = ::testing::TempDir() + "/fuzzed_config";
  ASSERT_TRUE(MakeDirectories(folder).ok());
  const std::string good =
      R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "add_bos_token": true,)"
      R"("chat_template": [{"name": "default", "template": "x"}], "model_max_length": 1e30})";
  for (int i = 0; i < 300; ++i) {
    std::string bad = good;
    bad[Below(random, static_cast<int>(bad.size()))] = static_cast<char>(32 + random() % 95);
    ASSERT_TRUE(WriteFileAtomically(folder + "/tokenizer_config.json", bad).ok());
    (void)ReadTokenizerConfig(folder);
  }
}

}  // namespace
}  // namespace lockstep::data
