// Where the supervised bytes of a rendered chat are.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/encode.h"
#include "data/examples.h"
#include "data/jinja/template.h"
#include "data/special_tokens.h"

namespace lockstep::data {

// A chat's text with the byte ranges that are learned, in order.
struct SpannedText {
  std::string text;
  std::vector<std::pair<int64_t, int64_t>> spans;
  uint32_t notes = 0;  // kHistoryRewritten
};

// The chat's template with everything but the messages.
struct MessageRenderer {
  std::function<absl::StatusOr<jinja::Rendered>(std::vector<jinja::Value> messages,
                                                bool add_generation_prompt)>
      render;
  bool has_generation_prompt = true;  // add_generation_prompt changes the text
};

// One text, or with History::kPerTurn and a template that rewrites earlier turns one text per
// trained assistant message. `where` is file and line.
absl::StatusOr<std::vector<SpannedText>> FindChatSpans(const ChatExample& chat,
                                                       const MessageRenderer& renderer,
                                                       const SpecialTokens& special,
                                                       History history, absl::string_view where);

}  // namespace lockstep::data
