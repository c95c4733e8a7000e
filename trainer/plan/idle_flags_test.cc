#include "trainer/plan/idle_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

DataOptions AllGiven() {
  DataOptions options;
  options.examples.system_prompt = "Be kind.";
  options.encode.chat_template = "chatml";
  options.encode.pair_template = "Q: {prompt} A: {completion}";
  options.encode.loss_on = data::LossOn::kAssistant;
  options.encode.append_eos = false;
  return options;
}

TEST(IdleDataFlags, WhatIsNotGivenIsNotIdle) {
  for (const char* format : {"messages", "alpaca", "tokens", "text"}) {
    EXPECT_THAT(IdleDataFlags({}, {format}, true), IsEmpty());
  }
}

TEST(IdleDataFlags, EachFormatHasItsOwn) {
  const auto idle = [](const char* format, bool has_chat_template) {
    return IdleDataFlags(AllGiven(), {format}, has_chat_template);
  };
  const auto system = HasSubstr("--system_prompt"), chat = HasSubstr("--chat_template"),
             pair = HasSubstr("--pair_template"), loss = HasSubstr("--loss_on"),
             eos = HasSubstr("--append_eos");
  EXPECT_THAT(idle("messages", true), ElementsAre(pair, eos));
  EXPECT_THAT(idle("prompt_completion", true), ElementsAre(pair, eos));
  EXPECT_THAT(idle("alpaca", true), ElementsAre(HasSubstr("turns of the chat template"), eos));
  EXPECT_THAT(idle("alpaca", false), ElementsAre(system, chat, loss, eos));
  EXPECT_THAT(idle("tokens", true), ElementsAre(system, chat, pair, loss, eos));
  EXPECT_THAT(idle("text", true), ElementsAre(system, chat, pair, loss));
  EXPECT_THAT(IdleDataFlags(AllGiven(), {"text", "messages"}, true), ElementsAre(pair));
}

TEST(IdleDataFlags, ACompletionIsOfPairsAndTurns) {
  DataOptions options;
  options.encode.loss_on = data::LossOn::kCompletion;
  EXPECT_THAT(IdleDataFlags(options, {"alpaca"}, false), IsEmpty());
  EXPECT_THAT(IdleDataFlags(options, {"text"}, false), ElementsAre(HasSubstr("completion")));
}

}  // namespace
}  // namespace lockstep
