// Remarks about a chat, and about what a template made of it: bits of Note (data/encode.h).
#pragma once

#include <cstdint>
#include <vector>

#include "data/chat_spans.h"
#include "data/examples.h"
#include "data/special_tokens.h"

namespace lockstep::data {

// kRoleOrder, kSpecialInContent, kEmptyAnswer: of the messages alone. kToolCallLost, kMessageLost:
// of `texts`, which the template has made of them.
uint32_t ChatNotes(const ChatExample& chat, const std::vector<SpannedText>& texts,
                   const SpecialTokens& special);

}  // namespace lockstep::data
