#include "data/tokenizer/tokenizer_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/testing.h"

namespace lockstep::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

class TokenizerConfigTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& content) {
    const std::string path = folder_ + "/" + name;
    ASSERT_TRUE(MakeDirectories(path.substr(0, path.rfind('/'))).ok());
    ASSERT_TRUE(WriteFileAtomically(path, content).ok());
  }
  const std::string folder_ = FreshFolder();
};

TEST_F(TokenizerConfigTest, ReadsTokensInAllSpellings) {
  Write("tokenizer_config.json", R"({
    "bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": false},
    "eos_token": "</s>", "pad_token": null, "add_bos_token": true,
    "additional_special_tokens": ["<a>"], "extra_special_tokens": {"image_token": "<i>"},
    "model_max_length": 1000000000000000019884624838656, "added_tokens_decoder": {"0": {"content": "x"}},
    "chat_template": "{{ messages }}"})");
  const auto config = ReadTokenizerConfig(folder_);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->bos_token, "<s>");
  EXPECT_EQ(config->eos_token, "</s>");
  EXPECT_EQ(config->pad_token, std::nullopt);
  EXPECT_EQ(config->unk_token, std::nullopt);
  EXPECT_THAT(config->added_tokens, ElementsAre(TokenDescription{.content = "x"}));
  EXPECT_THAT(config->strings,
              ElementsAre(Pair("bos_token", "<s>"), Pair("chat_template", "{{ messages }}"),
                          Pair("eos_token", "</s>"), Pair("image_token", "<i>")));
  EXPECT_EQ(*config->ChatTemplate(), "{{ messages }}");
}

TEST_F(TokenizerConfigTest, TheMapOfSpecialTokensWinsUnlessTheConfigHasTheTokens) {
  Write("special_tokens_map.json",
        R"({"bos_token": null, "eos_token": {"content": "<end>"}, "cls_token": "<c>"})");
  EXPECT_EQ(ReadTokenizerConfig(folder_)->eos_token, "<end>");
  Write("tokenizer_config.json",
        R"({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})");
  const auto config = ReadTokenizerConfig(folder_);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->bos_token, std::nullopt);
  EXPECT_EQ(config->eos_token, "<end>");
  EXPECT_EQ(config->unk_token, "<unk>");
  EXPECT_THAT(config->strings, ElementsAre(Pair("cls_token", "<c>"), Pair("eos_token", "<end>"),
                                           Pair("unk_token", "<unk>")));
  Write("tokenizer_config.json", R"({"bos_token": "<s>", "added_tokens_decoder": {}})");
  const auto newer = ReadTokenizerConfig(folder_);
  ASSERT_TRUE(newer.ok()) << newer.status();
  EXPECT_EQ(newer->bos_token, "<s>");
  EXPECT_EQ(newer->eos_token, std::nullopt);
}

TEST_F(TokenizerConfigTest, ReadsNamedTemplates) {
  Write("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "d"},
                                     {"name": "tool_use", "template": "t"}]})");
  const auto config = ReadTokenizerConfig(folder_);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(*config->ChatTemplate(), "d");
  EXPECT_EQ(*config->ChatTemplate("tool_use"), "t");
  EXPECT_EQ(config->ChatTemplate("rag"), nullptr);
  Write("tokenizer_config.json", R"({"chat_template": {"default": "e", "rag": "r"}})");
  const auto by_name = ReadTokenizerConfig(folder_);
  ASSERT_TRUE(by_name.ok()) << by_name.status();
  EXPECT_THAT(by_name->chat_templates, ElementsAre(Pair("default", "e"), Pair("rag", "r")));
}

TEST_F(TokenizerConfigTest, TemplateFilesWin) {
  Write("tokenizer_config.json", R"({"chat_template": "old"})");
  Write("chat_template.jinja", "new\n");
  Write("additional_chat_templates/rag.jinja", "r");
  const auto config = ReadTokenizerConfig(folder_);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->chat_templates, ElementsAre(Pair("default", "new\n"), Pair("rag", "r")));
}

TEST_F(TokenizerConfigTest, AnEmptyFolderIsFineAndABrokenFileIsNamed) {
  EXPECT_TRUE(ReadTokenizerConfig(folder_).ok());
  Write("tokenizer_config.json", R"({"bos_token": 3})");
  EXPECT_THAT(ReadTokenizerConfig(folder_).status().message(),
              HasSubstr("tokenizer_config.json: bos_token] want a string, got 3"));
  Write("tokenizer_config.json", "{\"bos_token\": ");
  EXPECT_THAT(ReadTokenizerConfig(folder_).status().message(), HasSubstr("line 1, byte"));
  Write("tokenizer_config.json", "{\"x\": " + std::string(3000000, '['));
  EXPECT_THAT(ReadTokenizerConfig(folder_).status().message(), HasSubstr("nested deeper"));
  Write("tokenizer_config.json", "[]");
  EXPECT_THAT(ReadTokenizerConfig(folder_).status().message(), HasSubstr("want a JSON object"));
}

}  // namespace
}  // namespace lockstep::data
