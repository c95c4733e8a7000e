#include "data/tokenizer/token_conflicts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/tokenizer/small_tokenizer.h"

namespace lockstep::data {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(TokenConflictsTest, OtherFlagsAndTokensThatAreNotThere) {
  const auto tokenizer = *Tokenizer::Parse(SmallTokenizer().dump(), "tokenizer.json");
  TokenizerConfig config;
  const TokenDescription end = {.content = "<|end|>", .special = true, .normalized = false};
  config.added_tokens = {end};
  config.bos_token = "hello";  // of the vocabulary
  config.eos_token = "<|end|>";
  EXPECT_THAT(TokenConflicts(*tokenizer, config), IsEmpty());
  for (bool TokenDescription::*flag :
       {&TokenDescription::single_word, &TokenDescription::lstrip, &TokenDescription::rstrip,
        &TokenDescription::special, &TokenDescription::normalized}) {
    config.added_tokens = {end};
    config.added_tokens[0].*flag = !(end.*flag);
    EXPECT_THAT(TokenConflicts(*tokenizer, config), ElementsAre("<|end|>"));
  }
  config.added_tokens = {end, {.content = "<new>"}};
  config.bos_token = "<new>";
  config.eos_token = "</s>";
  EXPECT_THAT(TokenConflicts(*tokenizer, config), ElementsAre("<new>", "</s>"));
}

}  // namespace
}  // namespace lockstep::data
